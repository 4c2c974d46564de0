// Puts the Studio on the page. `#SESSION` in the address opens a session, so that another window shows the same.

import { render } from "preact";

import { Studio } from "./model.js";
import "./style.css";
import { App } from "./ui/app.js";

const studio = new Studio(location.origin);
const root = document.getElementById("app");
if (root !== null) {
  render(<App studio={studio} />, root);
}
void studio.run(location.hash.slice(1) || undefined);
studio.subscribe(() => {
  const id = studio.state.session?.id ?? "";
  if (id !== location.hash.slice(1) && (id !== "" || studio.state.connection === "connected")) {
    history.replaceState(null, "", id === "" ? location.pathname : `#${id}`);
  }
});
