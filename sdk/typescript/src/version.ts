// Which protocol this client was built for.

/** Version of the protocol that this client was built for; a test compares it with `easel-proto`. */
export const PROTOCOL_VERSION = 2;
/** Version of this client. */
export const CLIENT_VERSION = "0.1.0";
