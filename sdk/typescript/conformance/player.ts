// Plays the steps of one scenario with the TypeScript SDK.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

import { fromJson, type JsonObject } from "@bufbuild/protobuf";

import { connect, connectWeb, type Easel, EaselError, type GenerateOptions, type Run, type Session } from "../src/node.js";
import type { GenerationEvent } from "../src/event.js";
import { DisconnectPolicy, GenerationSpecSchema, RunPolicySchema } from "../src/gen/easel/v1/generation_pb.js";
import type { Picture } from "../src/transfer.js";
import { heldBack, overSocket } from "./fetch.js";
import {
  errorLine,
  eventLine,
  generationLine,
  type Line,
  modelLine,
  outcomeWord,
  revisionLine,
  sessionLine,
  stateOf,
  timings,
} from "./normal.js";

export type Way = "grpc" | "web" | "poll";

export interface Target {
  readonly address?: string;
  readonly token?: string | null;
  readonly socket?: string;
  readonly client: string;
}

export interface Step {
  readonly op: string;
  readonly as?: string;
  readonly of?: string;
  readonly id?: string;
  readonly do?: string;
  readonly spec?: JsonObject & { file?: string; prompt: string };
  readonly policy?: JsonObject;
  readonly until?: string | Record<string, Line>;
  readonly after?: number;
  readonly session?: string;
  readonly [name: string]: unknown;
}

/** A run whose first event was read before anybody asked, so that the request is sent when the scenario says so. */
class Reading {
  private constructor(
    readonly run: Run,
    private first: IteratorResult<GenerationEvent> | undefined,
  ) {}

  static async begin(run: Run): Promise<Reading> {
    return new Reading(run, await run.next());
  }

  async next(): Promise<IteratorResult<GenerationEvent>> {
    const { first } = this;
    this.first = undefined;
    return first ?? this.run.next();
  }
}

/** What a spec and a policy in JSON are as options, and the source picture. */
async function told(step: Step): Promise<{ prompt: string; picture?: Picture; options: GenerateOptions }> {
  const { file: path, ...spec } = step.spec ?? { prompt: "" };
  const { $typeName: _, mode: __, prompt, image, ...fields } = fromJson(GenerationSpecSchema, spec);
  const policy = fromJson(RunPolicySchema, step.policy ?? {});
  const named = image?.source.case === "sha256" ? { sha256: image.source.value } : undefined;
  const picture = path === undefined ? named : await file(path);
  const { timeout, previews, priority, onDisconnect, requestId } = policy;
  const options: GenerateOptions = {
    ...fields,
    priority,
    keepWhenDisconnected: onDisconnect === DisconnectPolicy.KEEP,
    ...(previews === undefined ? {} : { previews }),
    ...(timeout === undefined ? {} : { timeoutMs: Number(timeout.seconds) * 1000 + timeout.nanos / 1e6 }),
    ...(requestId === "" ? {} : { requestId }),
  };
  return { prompt, options, ...(picture === undefined ? {} : { picture }) };
}

/** True when a line is what a `read` reads up to. */
function reaches(until: Step["until"], line: Line): boolean {
  if (until === undefined) {
    return false;
  }
  const [name, fields] = typeof until === "string" ? [until, {}] : (Object.entries(until)[0] ?? ["", {}]);
  const found = line[name] as Line | undefined;
  return found !== undefined && Object.entries(fields).every(([key, value]) => found[key] === value);
}

type Play = (easel: Easel, step: Step) => Promise<void>;

const text = (step: Step, name: string): string => String(step[name] ?? "");
const file = (path: unknown): Promise<Uint8Array> => readFile(String(path));
const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Plays the steps of one scenario, on a connection of its own. */
export class Player {
  private readonly ids = new Map<string, string>();
  private readonly runs = new Map<string, Reading>();
  private made: Easel | undefined;

  /** `say` prints a line, `ask` prints one and waits for the driver. */
  constructor(
    private readonly way: Way,
    private readonly target: Target,
    private readonly say: (line: Line) => void,
    private readonly ask: (line: Line) => Promise<void>,
  ) {}

  async step(step: Step): Promise<void> {
    try {
      if (step.op === "driver") {
        return await this.ask({ driver: step.do });
      }
      const play = this.plays[step.op];
      if (play === undefined) {
        throw new Error(`there is no step ${step.op}`);
      }
      this.made ??= await this.connect();
      await play(this.made, step);
    } catch (thrown) {
      if (!(thrown instanceof EaselError)) {
        throw thrown;
      }
      const named = step.as ?? step.of;
      this.say({ ...(named === undefined ? {} : { of: named }), error: errorLine(thrown) });
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.runs.values()].map(({ run }) => run.return()));
  }

  private connect(delivery?: "poll"): Promise<Easel> {
    const { address, socket } = this.target;
    const common = { token: this.target.token ?? undefined, clientName: this.target.client, delivery };
    if (this.way === "grpc") {
      return connect({ ...common, address, socket });
    }
    const plain = socket === undefined ? globalThis.fetch : overSocket(socket);
    const fetch = this.way === "poll" ? heldBack(plain) : plain;
    return connectWeb({ ...common, address: address ?? "http://localhost", fetch });
  }

  private id(step: Step): string {
    const of = step.of ?? "";
    return step.id ?? this.ids.get(of) ?? this.runs.get(of)?.run.id ?? "";
  }

  private async begin(step: Step, run: Run): Promise<void> {
    this.runs.set(step.as ?? step.of ?? "", await Reading.begin(run));
  }

  private tellsSession(call: (easel: Easel, id: string) => Promise<Session>): Play {
    return async (easel, step) => this.say(sessionLine(step.of ?? "", await call(easel, this.id(step))));
  }

  private readonly plays: Readonly<Record<string, Play>> = {
    run: async (easel, step) => {
      const { prompt, picture, options } = await told(step);
      await this.begin(step, picture === undefined ? easel.generate(prompt, options) : easel.edit(picture, prompt, options));
    },
    create: async (easel, step) => {
      const { prompt, picture, options } = await told(step);
      const made = await easel.create(prompt, picture === undefined ? options : { ...options, picture });
      this.ids.set(step.as ?? "", made.generation.id);
      this.say({ of: step.as, created: { existed: made.existed } });
    },
    edit: async (easel, step) => {
      const { prompt, options } = await told(step);
      await this.begin(step, easel.sessions.edit(this.ids.get(step.session ?? "") ?? "", prompt, options));
    },
    watch: (easel, step) => this.begin(step, easel.watch(this.id(step), { afterSequence: step.after ?? 0 })),
    read: async (_, step) => {
      const of = step.of ?? "";
      const reading = this.runs.get(of);
      for (let read = await reading?.next(); read !== undefined && read.done !== true; read = await reading?.next()) {
        this.ids.set(of, read.value.generationId);
        const line = eventLine(of, read.value);
        this.say(line);
        if (reaches(step.until, line)) {
          return;
        }
      }
    },
    poll: async (_, step) => {
      for await (const event of (await this.connect("poll")).watch(this.id(step))) {
        this.say(eventLine(step.of ?? "", event));
      }
    },
    drop: async (_, step) => {
      await this.runs.get(step.of ?? "")?.run.return();
      this.runs.delete(step.of ?? "");
    },
    cancel: async (easel, step) => {
      const { outcome } = await easel.cancel(this.id(step));
      this.say({ of: step.of, cancelled: { outcome: outcomeWord(outcome) } });
    },
    get: async (easel, step) => this.say(generationLine(step.of, await easel.generation(this.id(step)))),
    await: async (easel, step) => {
      while (stateOf(await easel.generation(this.id(step))) !== step["state"]) {
        // Asked again at once: the daemon answers in its own time.
      }
    },
    prepare: async (easel, step) => {
      const { prompt } = step.spec ?? { prompt: "" };
      this.say({ prepared: { timings: timings((await easel.prepare({ prompt })).timings) } });
    },
    upload: async (easel, step) => this.say({ uploaded: { sha256: await easel.upload(await file(step["file"])) } }),
    download: async (easel, step) => {
      const bytes = await easel.download(text(step, "sha256") || hash(await file(step["file"])));
      this.say({ downloaded: { sha256: hash(bytes), bytes: bytes.length } });
    },
    version: async (easel) => this.say({ version: { protocol_version: (await easel.version()).protocolVersion } }),
    models: async (easel) => this.say({ models: (await easel.models.list()).map((model) => modelLine(model, true)) }),
    load: async (easel, step) => {
      let line: Line = {};
      for await (const { model } of easel.models.load(text(step, "model"))) {
        line = modelLine(model);
      }
      this.say({ loaded: line });
    },
    unload: async (easel, step) => this.say({ unloaded: modelLine(await easel.models.unload(text(step, "model"))) }),
    add_model: async (easel, step) => {
      this.say({ added: modelLine(await easel.models.add(text(step, "folder"), text(step, "name"))) });
    },
    session: async (easel, step) => {
      const picture = step["file"] === undefined ? undefined : await file(step["file"]);
      const made = await easel.sessions.create(text(step, "name"), picture);
      this.ids.set(step.as ?? "", made.id);
      this.say(sessionLine(step.as ?? "", made));
    },
    undo: this.tellsSession((easel, id) => easel.sessions.undo(id)),
    redo: this.tellsSession((easel, id) => easel.sessions.redo(id)),
    get_session: this.tellsSession((easel, id) => easel.sessions.get(id)),
    delete_session: async (easel, step) => {
      const { sessions } = await easel.sessions.delete(this.id(step));
      this.say({ of: step.of, deleted: { sessions: Number(sessions) } });
    },
    revisions: async (easel, step) => {
      this.say({ of: step.of, revisions: (await easel.sessions.revisions(this.id(step))).map(revisionLine) });
    },
  };
}
