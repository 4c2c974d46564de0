// Pictures of the daemon in the forms that a page draws: Blob, ImageBitmap and raw pixels.

import { setupError } from "./error.js";
import { type Image, ImageFormat } from "./gen/easel/v1/image_pb.js";

const MIME_TYPES: Partial<Record<ImageFormat, string>> = {
  [ImageFormat.PNG]: "image/png",
  [ImageFormat.JPEG]: "image/jpeg",
  [ImageFormat.WEBP]: "image/webp",
  [ImageFormat.TIFF]: "image/tiff",
};

/** Pixels, 4 bytes each (red, green, blue, alpha not premultiplied), rows from the top. */
export interface Pixels {
  /** In pixels. */
  readonly width: number;
  /** In pixels. */
  readonly height: number;
  /** `4 * width * height` bytes. */
  readonly data: Uint8ClampedArray;
}

/** MIME type of an encoding; raw bytes are `application/octet-stream`. */
export function mimeType(format: ImageFormat): string {
  return MIME_TYPES[format] ?? "application/octet-stream";
}

/** The file that came along with a preview or a small result, as a Blob; `undefined` when it did not come along. */
export function inlineBlob(image: Image | undefined): Blob | undefined {
  return image === undefined || image.inline.length === 0 ? undefined : blobOf(image.inline, image.format);
}

/** The bytes of a file as a Blob. */
export function blobOf(bytes: Uint8Array, format: ImageFormat): Blob {
  return new Blob([bytes as Uint8Array<ArrayBuffer>], { type: mimeType(format) });
}

/** A file as an ImageBitmap, decoded by the browser. Throws `CLIENT_SETUP` where there is no such thing (Node, UXP). */
export async function toImageBitmap(file: Blob): Promise<ImageBitmap> {
  if (typeof globalThis.createImageBitmap !== "function") {
    throw setupError("this program cannot decode pictures: ask the daemon for raw pixels");
  }
  return createImageBitmap(file, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
}

/** A file as raw pixels, decoded by the browser. Throws `CLIENT_SETUP` where there is no canvas (Node, UXP). */
export async function toPixels(file: Blob): Promise<Pixels> {
  const bitmap = await toImageBitmap(file);
  try {
    const { width, height } = bitmap;
    if (typeof OffscreenCanvas === "undefined") {
      throw setupError("this program has no canvas to read pixels from: ask the daemon for raw pixels");
    }
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (context === null) {
      throw setupError("the browser gives no canvas of this size");
    }
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: context.getImageData(0, 0, width, height).data };
  } finally {
    bitmap.close();
  }
}
