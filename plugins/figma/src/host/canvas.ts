// The document: reads the picture of what is selected, and puts results where they belong. The only file that touches nodes.

import type { Place, Read } from "./messages.js";

/** Longest side of an image in Figma, in pixels. */
export const MAX_IMAGE_PX = 4096;

/** A sentence for the user. */
export class Problem extends Error {}

type Fillable = SceneNode & MinimalFillsMixin;

/** The picture of what is selected: the image fill on top, else the node as it looks. */
export async function read(): Promise<Read> {
  const [node, second] = figma.currentPage.selection;
  if (node === undefined) {
    throw new Problem("Select a layer: one with an image fill, or any other to edit how it looks.");
  }
  if (second !== undefined) {
    throw new Problem("Select one layer only. To edit several together, group them first.");
  }
  const fill = imageFill(node);
  return fill === undefined ? readLook(node) : readFill(node, fill.at, fill.imageHash);
}

/** The uppermost visible image fill. */
function imageFill(node: SceneNode): { at: number; imageHash: string } | undefined {
  const fills = "fills" in node && node.fills !== figma.mixed ? node.fills : [];
  for (let at = fills.length - 1; at >= 0; at -= 1) {
    const paint = fills[at];
    if (paint?.type === "IMAGE" && paint.visible !== false && paint.imageHash !== null) {
      return { at, imageHash: paint.imageHash };
    }
  }
  return undefined;
}

async function readFill(node: SceneNode, at: number, imageHash: string): Promise<Read> {
  const image = figma.getImageByHash(imageHash);
  if (image === null) {
    throw new Problem("The image of this fill is not there. Place it again.");
  }
  const [bytes, { width, height }] = await Promise.all([image.getBytesAsync(), image.getSizeAsync()]);
  return { label: `fill of ${node.name}, ${width} x ${height}`, bytes, place: { kind: "fill", nodeId: node.id, at, imageHash } };
}

async function readLook(node: SceneNode): Promise<Read> {
  const bounds = "absoluteRenderBounds" in node ? node.absoluteRenderBounds : null;
  if (bounds === null || bounds.width < 1 || bounds.height < 1) {
    throw new Problem("This layer shows nothing that could be edited. Select another one.");
  }
  const longest = Math.max(bounds.width, bounds.height);
  // More than Figma takes back would be lost on the way: the picture is taken smaller.
  const constraint: ExportSettingsConstraints =
    longest <= MAX_IMAGE_PX
      ? { type: "SCALE", value: 1 }
      : { type: bounds.width >= bounds.height ? "WIDTH" : "HEIGHT", value: MAX_IMAGE_PX };
  const bytes = await node.exportAsync({ format: "PNG", constraint });
  const { x, y, width, height } = bounds;
  const scale = Math.min(1, MAX_IMAGE_PX / longest);
  const label = `${node.name} as it looks, ${Math.round(width * scale)} x ${Math.round(height * scale)}`;
  return { label, bytes, place: { kind: "over", nodeId: node.id, x, y, width, height } };
}

/** Puts a result where its source was: one step to undo. */
export async function put(place: Place, bytes: Uint8Array, name: string): Promise<void> {
  const node = await figma.getNodeByIdAsync(place.nodeId);
  if (node === null || node.removed || node.type === "DOCUMENT" || node.type === "PAGE") {
    throw new Problem("The layer that was edited is no longer there.");
  }
  checkSize(bytes);
  // What the user did before stays a step of its own.
  figma.commitUndo();
  const { hash } = figma.createImage(bytes);
  if (place.kind === "fill") {
    putFill(node, place.at, place.imageHash, hash);
  } else {
    putOver(node, place, hash, name);
  }
  figma.commitUndo();
}

/** Figma says of a picture that is too large only that something failed. */
function checkSize(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isPng = bytes.length > 24 && view.getUint32(0) === 0x89504e47;
  if (!isPng) {
    throw new Problem("The result is no PNG, which Figma could not take.");
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  if (Math.max(width, height) > MAX_IMAGE_PX) {
    throw new Problem(`The result has ${width} x ${height} pixels; Figma takes images up to ${MAX_IMAGE_PX} on a side.`);
  }
}

function putFill(node: SceneNode, at: number, before: string, hash: string): void {
  const fills = "fills" in node && node.fills !== figma.mixed ? [...node.fills] : [];
  const known = fills[at];
  const found = known?.type === "IMAGE" && known.imageHash === before ? at : fills.findIndex((fill) => fill.type === "IMAGE" && fill.imageHash === before);
  const paint = fills[found];
  if (paint?.type !== "IMAGE") {
    throw new Problem("The fill that was edited is no longer there.");
  }
  // How it is cropped, scaled and filtered stays as it is.
  fills[found] = { ...paint, imageHash: hash };
  (node as Fillable).fills = fills;
}

function putOver(node: SceneNode, { x, y, width, height }: Extract<Place, { kind: "over" }>, hash: string, name: string): void {
  const over = figma.createRectangle();
  over.name = name;
  over.fills = [{ type: "IMAGE", scaleMode: "FILL", imageHash: hash }];
  over.resize(width, height);
  const home = homeOf(node);
  if (home === undefined) {
    figma.currentPage.appendChild(over);
    over.x = x;
    over.y = y;
  } else {
    home.parent.insertChild(home.at, over);
    if ("layoutMode" in home.parent && home.parent.layoutMode !== "NONE") {
      over.layoutPositioning = "ABSOLUTE";
    }
    over.x = x - home.x;
    over.y = y - home.y;
  }
  figma.currentPage.selection = [over];
}

/** Beside the node, where a rectangle can stand straight: not in instances, and not in what is turned or scaled. */
function homeOf(node: SceneNode): { parent: FrameNode | GroupNode | SectionNode | ComponentNode; at: number; x: number; y: number } | undefined {
  const { parent } = node;
  for (let above: BaseNode | null = parent; above !== null; above = above.parent) {
    if (above.type === "INSTANCE") {
      return undefined;
    }
  }
  if (parent === null || !["FRAME", "GROUP", "SECTION", "COMPONENT"].includes(parent.type)) {
    return undefined;
  }
  const found = parent as FrameNode | GroupNode | SectionNode | ComponentNode;
  const at = found.children.indexOf(node) + 1;
  if (found.type === "GROUP") {
    // Children of a group are placed in what the group stands in; the page is simpler and as exact.
    return undefined;
  }
  const [[a, b, x], [c, d, y]] = found.absoluteTransform;
  const straight = [a - 1, b, c, d - 1].every((part) => Math.abs(part) < 1e-6);
  return straight ? { parent: found, at, x, y } : undefined;
}
