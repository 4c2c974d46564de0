// What the two halves of the plugin say to each other: the sandbox has the document, the frame has the network.

/** A picture of the document on its way to the daemon. */
export interface Read {
  readonly label: string;
  readonly bytes: Uint8Array;
  readonly place: Place;
}

/** Where a result goes. */
export type Place =
  /** In place of the image fill number `at` of a node. */
  | { readonly kind: "fill"; readonly nodeId: string; readonly at: number; readonly imageHash: string }
  /** As a rectangle over a node, where its picture was taken. */
  | { readonly kind: "over"; readonly nodeId: string; readonly x: number; readonly y: number; readonly width: number; readonly height: number };

/** What the frame asks for; each is answered under its number. */
export type Ask =
  | { readonly do: "read" }
  | { readonly do: "place"; readonly place: Place; readonly bytes: Uint8Array; readonly name: string }
  | { readonly do: "get"; readonly key: string }
  | { readonly do: "set"; readonly key: string; readonly value: string | undefined };

/** From the frame to the sandbox. */
export type Call = Ask & { readonly call: number };

/** From the sandbox to the frame: what was asked for, or a sentence that says what the user can do. */
export type Answer = { readonly call: number; readonly value?: unknown; readonly problem?: string };
