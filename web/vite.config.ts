import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The console's Content-Security-Policy allows scripts and assets only from files, so nothing may be inlined.
export default defineConfig({
  plugins: [react()],
  build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
