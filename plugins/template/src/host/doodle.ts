// Doodle as a host of the panel: the one file that knows it.

import { type Host, HostProblem, type Memory, type Placed, type Source } from "@easel/panel";

/** What Doodle offers to plugins. */
declare const doodle: {
  readonly canvas: HTMLCanvasElement;
  commit(): void;
};

/** Small texts in the browser's storage; a browser that keeps nothing pairs again. */
const memory: Memory = {
  async get(key) {
    return localStorage.getItem(key) ?? undefined;
  },
  async set(key, value) {
    if (value === undefined) {
      localStorage.removeItem(key);
    } else {
      localStorage.setItem(key, value);
    }
  },
};

export class DoodleHost implements Host {
  readonly name = "Doodle";
  readonly memory = memory;

  async read(): Promise<Source> {
    const { canvas } = doodle;
    const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
    if (blob === null) {
      throw new HostProblem("The drawing is empty. Make it larger.");
    }
    return { label: `the drawing, ${canvas.width} x ${canvas.height}`, picture: blob, place: canvas };
  }

  async place(source: Source, { bytes }: Placed): Promise<void> {
    const canvas = source.place as HTMLCanvasElement;
    const bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    doodle.commit();
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
  }
}
