// What the SDK gives, as lines of the normal form of the scenario corpus; tests/conformance/README.md describes it.

import {
  CancelOutcome,
  Code,
  EaselError,
  type Generation,
  type GenerationEvent,
  GenerationState,
  ImageFormat,
  Mode,
  type Model,
  ModelState,
  Pipeline,
  type ResultImage,
  type Revision,
  type Session,
  Stage,
  type StageTiming,
} from "../src/node.js";
import { fromGenerationError } from "../src/error.js";

/** A line; `of` and one word more. */
export type Line = Record<string, unknown>;

type Enum = Readonly<Record<number, string>>;

const word = (names: Enum, value: number): string => (names[value] ?? "").toLowerCase();

/** `InvalidArgument` as gRPC writes it. */
function codeName(code: Code): string {
  const name = Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase();
  return name === "CANCELED" ? "CANCELLED" : name;
}

export function errorLine(error: EaselError): Line {
  return {
    code: codeName(error.code),
    reason: error.reason,
    message: error.message,
    fields: error.violations.map(({ field }) => field),
    retry_ms: error.retryAfterMs ?? null,
    resource: error.resource === undefined ? null : [error.resource.kind, error.resource.name],
    metadata: error.metadata,
  };
}

const timings = (all: readonly StageTiming[]): string[] => all.map(({ stage }) => word(Stage, stage)).sort();

function picture({ index, seed, image }: ResultImage): Line {
  return {
    index,
    seed: String(seed),
    format: word(ImageFormat, image?.format ?? 0),
    size: [image?.width, image?.height],
    sha256: image?.sha256,
  };
}

export function eventLine(of: string, event: GenerationEvent): Line {
  const number = event.kind === "preview" ? {} : { sequence: event.sequence };
  return { of, [event.kind]: { ...number, ...facts(event) } };
}

function facts(event: GenerationEvent): Line {
  switch (event.kind) {
    case "accepted":
      return accepted(event.generation);
    case "queued":
      return { position: event.position };
    case "progress": {
      const { stage, done, total, imageIndex, fraction } = event.progress;
      return { stage: word(Stage, stage), done, total, image: imageIndex, fraction: Number(fraction.toFixed(6)) };
    }
    case "preview": {
      const { number, imageIndex, step, image } = event.preview;
      const shown = { format: word(ImageFormat, image?.format ?? 0), size: [image?.width, image?.height] };
      return { number: Number(number), image: imageIndex, step, ...shown, bytes: image?.inline.length };
    }
    case "succeeded":
      return { images: event.images.map(picture), timings: timings(event.timings) };
    case "ended":
      return { state: event.cancelled ? "cancelled" : "failed", error: errorLine(event.error) };
    case "snapshot":
      return { state: word(GenerationState, event.generation.state) };
  }
}

function accepted({ resolved: found }: Generation): Line {
  return {
    mode: word(Mode, found?.mode ?? 0),
    model: found?.model,
    seed: String(found?.seed),
    size: [found?.width, found?.height],
    working_size: [found?.workingWidth, found?.workingHeight],
    steps: found?.numInferenceSteps,
    num_images: found?.numImages,
    format: word(ImageFormat, found?.outputFormat ?? 0),
    stages: found?.stages.map((stage) => word(Stage, stage)),
    notes: found?.notes,
  };
}

export const outcomeWord = (outcome: CancelOutcome): string => word(CancelOutcome, outcome);

export const stateOf = (generation: Generation): string => word(GenerationState, generation.state);

export function generationLine(of: string | undefined, found: Generation): Line {
  const error = found.error === undefined ? null : errorLine(fromGenerationError(found.error));
  const images = found.images.map(({ image }) => image?.sha256);
  return { ...(of === undefined ? {} : { of }), generation: { state: stateOf(found), error, images } };
}

export function modelLine(found: Model, everything = false): Line {
  const said = { name: found.name, state: word(ModelState, found.state) };
  return everything ? { ...said, pipeline: word(Pipeline, found.pipeline) } : said;
}

export function sessionLine(of: string, found: Session): Line {
  const { name, revisionCount, redoRevisionIds, headRevisionId } = found;
  const facts = { name, revisions: Number(revisionCount), redo: redoRevisionIds.length, has_head: headRevisionId !== "" };
  return { of, session: facts };
}

export function revisionLine({ parentRevisionId, image, spec }: Revision): Line {
  const size = [image?.width, image?.height];
  return { has_parent: parentRevisionId !== "", size, sha256: image?.sha256, prompt: spec?.prompt ?? "" };
}

export { timings };
