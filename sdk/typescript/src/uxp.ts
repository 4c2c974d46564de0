// The build for Photoshop's UXP: what browsers have, in one file for a plugin's folder. `requiredPermissions.network.domains` of the
// manifest must list `http://localhost:PORT` and `http://127.0.0.1:PORT` for every one of `PORTS`.

export * from "./browser.js";
