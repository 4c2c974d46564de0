// Puts the Studio on the page. `#SESSION` in the address opens a session, so that another window shows the same.

import { render } from "preact";

import { Studio } from "./model.js";
import "./style.css";
import { App } from "./ui/app.js";

/** What `easel open` has left in this browser; pages without storage have nothing. */
function key(): string | undefined {
  try {
    return localStorage.getItem("easel-key") ?? undefined;
  } catch {
    return undefined;
  }
}

const studio = new Studio(location.origin, key);
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
