// Earlier instructions, and the walk through them by arrow keys.

/** So many are kept. */
const KEPT = 50;

/** Reads what was stored; what cannot be read is nothing. */
export function parse(text: string | null | undefined): string[] {
  try {
    const kept: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

/** With one more, the newest last and none twice. */
export function added(kept: readonly string[], instruction: string): string[] {
  return [...kept.filter((one) => one !== instruction), instruction].slice(-KEPT);
}

/** A walk: what was being written stands at its end and is not lost. */
export class Walk {
  private place: number | undefined;
  private draft = "";

  /** The instruction one further back (-1) or forth (1); `undefined` at the end of the walk. */
  step(kept: readonly string[], by: -1 | 1, written: string): string | undefined {
    const from = this.place ?? kept.length;
    const to = from + by;
    if (to < 0 || to > kept.length) {
      return undefined;
    }
    if (from === kept.length) {
      this.draft = written;
    }
    this.place = to;
    return to === kept.length ? this.draft : kept[to];
  }

  /** Something else was written or sent. */
  stop(): void {
    this.place = undefined;
  }
}
