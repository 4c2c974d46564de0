// What the Studio knows and does: one session, its revisions, what is being made, and how the daemon is doing. No page in here.

import {
  connect,
  type Easel,
  EaselError,
  type GenerationEvent,
  type GetStatusResponse,
  inlineBlob,
  isLast,
  type Model,
  Priority,
  type Revision,
  type Session,
  type SessionEditOptions,
  type SessionEvent,
} from "@easel/sdk";

import { doing, isWanted, type Trouble, troubleOf, waiting } from "@easel/panel/words";

import { Pictures } from "./pictures.js";

/** A generation that is being made. */
export interface Work {
  readonly id: string;
  /** 1 is next; 0 when it runs. */
  readonly queued: number;
  /** Share that is done, 0 to 1. */
  readonly fraction: number;
  /** What happens, for a person. */
  readonly doing: string;
  /** Newest preview as a URL. */
  readonly preview: string | undefined;
}

/** What one look at the daemon found, for the timeline. */
export interface Sample {
  readonly time: number;
  /** Busy stages by name. */
  readonly busy: ReadonlySet<string>;
}

export interface State {
  readonly connection: "connecting" | "connected" | "lost" | "denied";
  readonly version: string;
  readonly session: Session | undefined;
  readonly sessions: readonly Session[];
  readonly revisions: readonly Revision[];
  readonly work: ReadonlyMap<string, Work>;
  readonly status: GetStatusResponse | undefined;
  readonly models: readonly Model[];
  readonly samples: readonly Sample[];
  readonly trouble: Trouble | undefined;
}

/** What an edit asks for beside its instruction. */
export interface EditSettings {
  readonly seed: string;
  readonly variations: number;
  readonly model: string;
}

/** How often the daemon is looked at, and for how long that is kept. */
const LOOK_MS = 500;
const SAMPLES = 120;

const NOTHING: State = {
  connection: "connecting",
  version: "",
  session: undefined,
  sessions: [],
  revisions: [],
  work: new Map(),
  status: undefined,
  models: [],
  samples: [],
  trouble: undefined,
};

export class Studio {
  state: State = NOTHING;
  readonly pictures = new Pictures((image) => this.client().pictureBlob(image));
  private easel: Easel | undefined;
  private readonly listeners = new Set<() => void>();
  /** What of the picture may change, white on black; `undefined` for all of it. */
  private mask: Blob | undefined;
  /** Where live edits begin, and their seed: each tries the instruction on the same picture. */
  private live: { readonly revisionId: string; readonly seed: bigint } | undefined;
  /** Ends the watch of the session that is open. */
  private watching = new AbortController();

  /** `key` gives what `easel open` has left in this browser; the other half is a cookie that no script sees. */
  constructor(
    private readonly address: string,
    private readonly key: () => string | undefined,
  ) {}

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Connects, and again whenever the daemon has gone, until the page closes. */
  async run(first: string | undefined): Promise<void> {
    for (let wanted = first; ; ) {
      try {
        this.easel = await connect({ address: this.address, token: this.key(), clientName: "studio" });
        const { version } = await this.easel.version();
        this.set({ connection: "connected", version });
        await this.refresh();
        if (this.state.session === undefined && wanted !== undefined) {
          await this.open(wanted);
          wanted = undefined;
        }
        await this.look();
      } catch (thrown) {
        const denied = thrown instanceof EaselError && thrown.isDenied;
        this.set({ connection: denied ? "denied" : "lost" });
        await wait(1000);
      }
    }
  }

  /** Begins a session with a picture or without, and opens it. */
  async begin(name: string, picture?: Blob): Promise<void> {
    await this.guard("The picture could not be opened", async () => {
      const session = await this.client().sessions.create(name, picture);
      await this.open(session.id);
    });
  }

  async open(id: string): Promise<void> {
    this.watching.abort();
    this.watching = new AbortController();
    this.endLive();
    const { signal } = this.watching;
    try {
      const session = await this.client().sessions.get(id);
      this.set({ session, revisions: [], work: new Map() });
      await this.loadRevisions();
    } catch (thrown) {
      if (thrown instanceof EaselError && thrown.isConnection) {
        throw thrown;
      }
      this.tell("The session could not be opened", thrown);
      return;
    }
    void this.follow(id, signal);
  }

  close(): void {
    this.watching.abort();
    this.set({ session: undefined, revisions: [], work: new Map() });
    void this.refresh().catch(() => undefined);
  }

  /** Edits where the session stands, or makes its first picture from the text. */
  async edit(instruction: string, settings: EditSettings): Promise<void> {
    await this.guard("The edit was not taken", async () => {
      if (this.state.session === undefined) {
        const session = await this.client().sessions.create(instruction);
        await this.open(session.id);
      }
      await this.client().sessions.createEdit(this.sessionId(), instruction, await this.options(settings));
    });
  }

  /** Selects a part of the picture for the edits to come. */
  select(mask: Blob | undefined): void {
    this.mask = mask;
  }

  /** Tries an instruction on the picture where live editing began; a newer one takes the place of an older. */
  async tryLive(instruction: string, settings: EditSettings): Promise<string | undefined> {
    const head = this.head();
    if (head === undefined) {
      return undefined;
    }
    this.live ??= { revisionId: head.id, seed: BigInt(Math.floor(Math.random() * 2 ** 32)) };
    const { revisionId, seed } = this.live;
    let id: string | undefined;
    await this.guard("The edit was not taken", async () => {
      const options = await this.options({ ...settings, variations: 1, seed: settings.seed || String(seed) });
      const live = { ...options, revisionId, priority: Priority.LIVE };
      ({ id } = await this.client().sessions.createEdit(this.sessionId(), instruction, live));
    });
    return id;
  }

  /** Makes sure that the instruction was tried, and goes to its picture: the next live edit would replace it otherwise. */
  async keepLive(instruction: string, settings: EditSettings): Promise<void> {
    const id = await this.tryLive(instruction, settings);
    this.endLive();
    // What went wrong with it is told where its events come.
    const made = id !== undefined && (await this.client().watch(id).result().then(() => true, () => false));
    if (made) {
      await this.loadRevisions();
      const kept = this.state.revisions.find(({ generationId }) => generationId === id);
      await (kept && this.goTo(kept.id));
    }
  }

  endLive(): void {
    this.live = undefined;
  }

  private async options({ seed, variations, model }: EditSettings): Promise<SessionEditOptions> {
    const { mask } = this;
    const area = mask && { case: "mask" as const, value: { image: await this.client().source(mask) } };
    return {
      previews: { longestEdgePx: 512 },
      numImages: variations,
      ...(seed.trim() === "" ? {} : { seed: BigInt(seed) }),
      ...(model === "" ? {} : { model }),
      ...(area && { selection: { area } }),
    };
  }

  /** Makes the present revision again with another seed. */
  again(): Promise<void> {
    return this.guard("It could not be made again", async () => {
      const head = this.head();
      if (head !== undefined && head.generationId !== "") {
        const options = { previews: { longestEdgePx: 512 }, numImages: 1 };
        await this.client().sessions.createRerun(this.sessionId(), head.id, options);
      }
    });
  }

  cancel(): Promise<void> {
    return this.guard("It could not be cancelled", async () => {
      await Promise.all([...this.state.work.keys()].map((id) => this.client().cancel(id)));
    });
  }

  undo(): Promise<void> {
    return this.move("There is nothing to undo", (id) => this.client().sessions.undo(id));
  }

  redo(): Promise<void> {
    return this.move("There is nothing to redo", (id) => this.client().sessions.redo(id));
  }

  goTo(revision: string): Promise<void> {
    return this.move("The revision could not be shown", (id) => this.client().sessions.goTo(id, revision));
  }

  async remove(id: string): Promise<void> {
    await this.guard("The session could not be deleted", async () => {
      await this.client().sessions.delete(id);
      await this.refresh();
    });
  }

  /** Loads a model, or frees its memory. */
  async toggleModel(model: Model, load: boolean): Promise<void> {
    await this.guard(`${model.name} could not be ${load ? "loaded" : "unloaded"}`, async () => {
      if (load) {
        for await (const { model: loading } of this.client().models.load(model.name)) {
          this.set({ models: this.state.models.map((one) => (one.name === loading.name ? loading : one)) });
        }
      } else {
        await this.client().models.unload(model.name);
      }
      this.set({ models: await this.client().models.list() });
    });
  }

  dismiss(): void {
    this.set({ trouble: undefined });
  }

  complain(title: string, message: string): void {
    this.set({ trouble: { title, message, fields: [], retryAfterMs: undefined } });
  }

  /** The revision at which the session stands. */
  head(): Revision | undefined {
    return this.state.revisions.find(({ id }) => id === this.state.session?.headRevisionId);
  }

  private client(): Easel {
    if (this.easel === undefined) {
      throw new Error("the daemon has not answered yet");
    }
    return this.easel;
  }

  private sessionId(): string {
    return this.state.session?.id ?? "";
  }

  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    this.listeners.forEach((listener) => listener());
  }

  private async refresh(): Promise<void> {
    const [sessions, models] = await Promise.all([this.client().sessions.list(), this.client().models.list()]);
    this.set({ sessions, models });
  }

  private async loadRevisions(): Promise<void> {
    const id = this.sessionId();
    const revisions = await this.client().sessions.revisions(id);
    if (id === this.sessionId()) {
      this.set({ revisions });
    }
  }

  /** Looks at the daemon until it has gone; not while the page is hidden. */
  private async look(): Promise<never> {
    for (let turn = 0; ; turn += 1) {
      if (!document.hidden) {
        const status = await this.client().status();
        const busy = new Set(status.stages.filter(({ generationId }) => generationId !== "").map(({ name }) => name));
        const samples = [...this.state.samples, { time: Date.now(), busy }].slice(-SAMPLES);
        this.set({ status, samples, connection: "connected" });
        if (turn % 10 === 9) {
          this.set({ models: await this.client().models.list() });
        }
      }
      await wait(LOOK_MS);
    }
  }

  private async follow(id: string, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.client().sessions.watch(id, { signal })) {
        if (!signal.aborted) {
          await this.take(event);
        }
      }
    } catch (thrown) {
      this.tell("The session is no longer followed", thrown);
    }
  }

  private async take(event: SessionEvent): Promise<void> {
    switch (event.kind) {
      case "session": {
        this.set({ session: event.session });
        if (BigInt(this.state.revisions.length) !== event.session.revisionCount) {
          await this.loadRevisions().catch(() => undefined);
        }
        return;
      }
      case "generation":
        this.takeGeneration(event.event);
        return;
      case "deleted":
        this.close();
        this.complain("The session was deleted", "It was removed here or in another window.");
        return;
      case "lost":
        this.set({ connection: "lost" });
    }
  }

  private takeGeneration(event: GenerationEvent): void {
    const work = new Map(this.state.work);
    const id = event.generationId;
    if (isLast(event)) {
      this.drop(work.get(id)?.preview);
      work.delete(id);
      this.set({ work });
      // The first generation loads its model.
      void this.client().models.list().then((models) => this.set({ models }), () => undefined);
      if (event.kind === "ended" && !isWanted(event.error)) {
        this.tell("The picture could not be made", event.error);
      }
      return;
    }
    const known = work.get(id) ?? { id, queued: 0, fraction: 0, doing: "accepted", preview: undefined };
    work.set(id, this.advanced(known, event));
    this.set({ work });
  }

  private advanced(work: Work, event: GenerationEvent): Work {
    switch (event.kind) {
      case "queued":
        return { ...work, queued: event.position, doing: waiting(event.position) };
      case "progress": {
        return { ...work, queued: 0, fraction: event.progress.fraction, doing: doing(event.progress) };
      }
      case "preview": {
        const blob = inlineBlob(event.preview.image);
        this.drop(work.preview);
        return { ...work, preview: blob === undefined ? undefined : URL.createObjectURL(blob) };
      }
      default:
        return work;
    }
  }

  private drop(url: string | undefined): void {
    if (url !== undefined) {
      URL.revokeObjectURL(url);
    }
  }

  private move(title: string, go: (session: string) => Promise<Session>): Promise<void> {
    this.endLive();
    return this.guard(title, async () => this.set({ session: await go(this.sessionId()) }));
  }

  private async guard(title: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
      this.set({ trouble: undefined });
    } catch (thrown) {
      this.tell(title, thrown);
    }
  }

  private tell(title: string, thrown: unknown): void {
    this.set({ trouble: troubleOf(title, thrown) });
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
