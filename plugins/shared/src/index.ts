// What a plugin needs beside its host: `start` puts the panel on a page; a host application is what `Host` says.

export { Client, type ClientOptions } from "./client/client.js";
export { HostProblem, type Host, type Memory, type Placed, type Source } from "./model/host.js";
export { Panel } from "./model/panel.js";
export type { Connection, Daemon, Reached, Settings, State } from "./model/state.js";
export { type Extras, start } from "./ui/start.js";
