// Photoshop as a host of the panel. The picture goes as a PNG and comes back as a TIFF: both lossless, neither needs deflate.

import { type Host, type Placed, type Source } from "@easel/panel";
import { ImageFormat } from "@easel/sdk/browser";
import { storage } from "uxp";

import { encodePng } from "../pixels/png.js";
import { decodeTiff } from "../pixels/tiff.js";
import { place } from "./place.js";
import { type Mask, read, type Reading } from "./read.js";
import { heightOf, widthOf } from "./region.js";

export class PhotoshopHost implements Host {
  readonly name = "Photoshop";
  /** Encrypted, for this plugin alone. Photoshop may lose it: then the plugin pairs again. */
  readonly memory = {
    get: async (key: string): Promise<string | undefined> => {
      const bytes = await storage.secureStorage.getItem(key).catch(() => undefined);
      return bytes === undefined || bytes === null || bytes.length === 0 ? undefined : String.fromCharCode(...bytes);
    },
    set: async (key: string, value: string | undefined): Promise<void> => {
      await (value === undefined ? storage.secureStorage.removeItem(key) : storage.secureStorage.setItem(key, value)).catch(() => undefined);
    },
  };

  async read(): Promise<Source> {
    const reading = await read();
    const { picture, mask, region, label } = reading;
    return {
      label,
      picture: encodePng(picture),
      selection: mask && { mask: encodePng(greyOf(mask)), x: mask.region.left - region.left, y: mask.region.top - region.top },
      options: { outputFormat: ImageFormat.TIFF },
      place: reading,
    };
  }

  async place(source: Source, { bytes, instruction }: Placed): Promise<void> {
    await place(source.place as Reading, decodeTiff(bytes), instruction);
  }
}

function greyOf({ region, data }: Mask): Parameters<typeof encodePng>[0] {
  return { width: widthOf(region), height: heightOf(region), components: 1, data };
}
