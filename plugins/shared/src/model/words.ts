// What happens and what went wrong, in words for the user; the Studio says the same.

import { EaselError, type Progress, Stage } from "@easel/sdk";

/** What an error says to a person. */
export interface Trouble {
  readonly title: string;
  readonly message: string;
  readonly fields: readonly string[];
  readonly retryAfterMs: number | undefined;
}

const DOING: Partial<Record<Stage, string>> = {
  [Stage.ENCODE_PROMPT]: "reading the instruction",
  [Stage.ENCODE_IMAGE]: "reading the picture",
  [Stage.DENOISE]: "drawing",
  [Stage.DECODE]: "developing",
  [Stage.FINISH]: "finishing",
};

/** Where a generation stands. */
export function doing({ stage, done, total }: Progress): string {
  const step = stage === Stage.DENOISE ? `, step ${Math.min(done + 1, total)} of ${total}` : "";
  return `${DOING[stage] ?? "working"}${step}`;
}

/** A place in the queue, 1 is next. */
export function waiting(position: number): string {
  return `waiting, ${position === 1 ? "next" : `number ${position}`} in the queue`;
}

/** Whatever was thrown, for a person. */
export function troubleOf(title: string, thrown: unknown): Trouble {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const known = thrown instanceof EaselError;
  const fields = known ? thrown.violations.map(({ field, description }) => `${field}: ${description}`) : [];
  return { title, message: fields.length > 0 ? "" : message, fields, retryAfterMs: known ? thrown.retryAfterMs : undefined };
}

/** True for an end that the user or a newer edit has brought about: nothing to complain of. */
export function isWanted(error: EaselError): boolean {
  return ["CANCELLED", "SUPERSEDED", "ABORTED"].includes(error.reason);
}
