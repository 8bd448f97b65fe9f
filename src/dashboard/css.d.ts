// esbuild gathers what is imported so into dashboard.css.
declare module '*.css'
