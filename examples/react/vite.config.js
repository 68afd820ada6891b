import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page's own origin passes on what is Greendot's, as a host application's proxy may.
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
