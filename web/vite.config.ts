import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The console's Content-Security-Policy runs what is in files of its own alone.
export default defineConfig({
  plugins: [react()],
  build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
});
