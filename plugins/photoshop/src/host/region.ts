// Rectangles of a document, in its pixels.

/** As Photoshop has it: right and bottom lie outside. */
export interface Region {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export const widthOf = ({ left, right }: Region): number => right - left;
export const heightOf = ({ top, bottom }: Region): number => bottom - top;
export const isEmpty = (region: Region): boolean => widthOf(region) <= 0 || heightOf(region) <= 0;

/** What two have in common; empty when that is nothing. */
export function common(a: Region, b: Region): Region {
  const left = Math.max(a.left, b.left);
  const top = Math.max(a.top, b.top);
  return { left, top, right: Math.max(left, Math.min(a.right, b.right)), bottom: Math.max(top, Math.min(a.bottom, b.bottom)) };
}

/** With surroundings of half its longer side, at least 64 pixels: more than the model looks at. */
export function withSurroundings(region: Region): Region {
  const by = Math.max(64, Math.ceil(Math.max(widthOf(region), heightOf(region)) / 2));
  return { left: region.left - by, top: region.top - by, right: region.right + by, bottom: region.bottom + by };
}
