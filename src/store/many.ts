/** A number and its noun, for the log. */
export const many = (value: number, noun: string): string => `${value} ${noun}${value === 1 ? '' : 's'}`
