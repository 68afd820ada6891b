import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Greendot's paths are served at the page's own origin, as behind a host application's proxy.
const greendot = process.env.GREENDOT_URL ?? "http://localhost:8000";
const proxy = {
  "/ws": { target: greendot, ws: true },
  "/api": greendot,
  "/demo": greendot,
};

export default defineConfig({
  plugins: [react()],
  server: { proxy },
  preview: { proxy },
});
