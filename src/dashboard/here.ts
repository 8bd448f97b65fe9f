// Where the page is: a proxy may have the gateway under a path of its own, such as /live/.

/** @param path a path of the gateway's, such as `/readyz`; without one, the gateway's own address */
export const here = (path = '/'): string => new URL(`.${path}`, new URL('.', window.location.href)).href
