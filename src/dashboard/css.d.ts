// esbuild collects these imports in dashboard.css.
declare module '*.css'
