// Puts a result into the document: a new layer above the one that was active, at the exact place, with what was selected as its mask.
// One short modal scope and one state of the history.

import { HostProblem } from "@easel/panel";
import { action, app, constants, imaging } from "photoshop";

import { toDocument } from "../pixels/depth.js";
import type { Raster } from "../pixels/png.js";
import { modal, PROFILE, type Mask, type Reading } from "./read.js";

/** Adds the layer; when it fails or the user presses Escape, the document is as it was. */
export async function place(reading: Reading, result: Raster, name: string): Promise<void> {
  const document = [...app.documents].find(({ id }) => id === reading.documentId);
  if (document === undefined) {
    throw new HostProblem("The document that was edited is closed.");
  }
  await modal("Easel places the picture", async (context) => {
    const { hostControl } = context;
    const history = await hostControl.suspendHistory({ documentID: document.id, name: `Easel: ${name}` });
    try {
      const layerId = await addLayer(document, reading, name);
      await putPixels(reading, layerId, result);
      if (reading.mask !== undefined) {
        await putMask(reading, layerId, reading.mask);
      }
      if (context.isCancelled) {
        throw new HostProblem("Placing was cancelled.");
      }
    } catch (thrown) {
      await hostControl.resumeHistory(history, false);
      throw thrown;
    }
    await hostControl.resumeHistory(history, true);
  });
}

async function addLayer(document: typeof app.activeDocument, { layerId }: Reading, name: string): Promise<number> {
  const layer = await document.createLayer(constants.LayerKind.NORMAL, { name: name.slice(0, 200) });
  if (layer === null) {
    throw new HostProblem("Photoshop could not make a layer. Is the document locked?");
  }
  const below = document.layers.find(({ id }) => id === layerId);
  if (below !== undefined) {
    layer.move(below, constants.ElementPlacement.PLACEBEFORE);
  }
  return layer.id;
}

async function putPixels({ documentId, bits, region }: Reading, layerID: number, result: Raster): Promise<void> {
  const { width, height, components, data } = result;
  const imageData = await imaging.createImageDataFromBuffer(toDocument(data, bits), {
    width,
    height,
    components,
    chunky: true,
    colorProfile: PROFILE,
    colorSpace: "RGB",
  });
  try {
    const targetBounds = { left: region.left, top: region.top, width, height };
    await imaging.putPixels({ documentID: documentId, layerID, imageData, replace: true, targetBounds });
  } finally {
    await imageData.dispose();
  }
}

async function putMask({ documentId }: Reading, layerID: number, { region, data }: Mask): Promise<void> {
  // Pixels can only be put into a mask that is there: one that hides all, of the active layer, which is the new one.
  await action.batchPlay(
    [
      {
        _obj: "make",
        new: { _class: "channel" },
        at: { _ref: "channel", _enum: "channel", _value: "mask" },
        using: { _enum: "userMaskEnabled", _value: "hideAll" },
      },
    ],
    {},
  );
  const [width, height] = [region.right - region.left, region.bottom - region.top];
  const imageData = await imaging.createImageDataFromBuffer(data, {
    width,
    height,
    components: 1,
    chunky: false,
    colorProfile: "Gray Gamma 2.2",
    colorSpace: "Grayscale",
  });
  try {
    const targetBounds = { left: region.left, top: region.top, width, height };
    await imaging.putLayerMask({ documentID: documentId, layerID, kind: "user", imageData, replace: true, targetBounds });
  } finally {
    await imageData.dispose();
  }
}
