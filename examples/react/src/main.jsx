import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app.jsx";
import "./style.css";

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App user={new URLSearchParams(location.search).get("user") ?? "ada"} />
  </StrictMode>,
);
