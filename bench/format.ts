// How figures are told.

export const percent = (share: number): string => `${Math.round(share * 100)} %`
