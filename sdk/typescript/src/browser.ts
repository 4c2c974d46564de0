// The build for browsers and frames in them.

export * from "./surface.js";
export { connect, type ConnectOptions, findDaemons, type FoundDaemon, localAccess, type LocalAccess, PORTS } from "./web.js";
