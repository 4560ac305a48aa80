import { defineConfig } from "vite";

// The service serves `dist/` under `/static/`, behind a proxy also under a prefix that only it knows. So scripts address
// each other relative to themselves, and only index.html has absolute addresses, which the service rewrites.
export default defineConfig({
  base: "/static/",
  build: {
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  experimental: {
    renderBuiltUrl: (_name, { hostType }) => (hostType === "js" ? { relative: true } : undefined),
  },
});
