// Where the page is: a proxy may have the gateway under a path of its own, such as /live/.

const HERE = new URL('.', window.location.href)

/** @param path a path of the gateway's, such as `/readyz`; without one, the gateway's own address */
export const here = (path = '/'): string => new URL(`.${path}`, HERE).href
