// What the panel knows and does: where the daemon is, the instruction, what is being made, what can be placed. Knows neither page nor
// network nor host application.

import { EaselError, type GenerationEvent, type Image, ImageFormat, isLast, mimeType, resultOf, type ResultImage } from "@easel/sdk";

import { added, parse, Walk } from "./history.js";
import type { Host } from "./host.js";
import { pictureUrl } from "./picture_url.js";
import type { Connection, Daemon, Settings, State, Work } from "./state.js";
import { doing, isWanted, troubleOf, waiting } from "./words.js";

/** How often a daemon is looked for, and one that was found is asked whether it is there. */
const SEARCH_MS = 2_000;
const LOOK_MS = 5_000;
/** Live edits begin this long after the last key. */
const TYPING_MS = 350;

const INSTRUCTIONS = "easel.instructions";
const SETTINGS = "easel.settings";
const PLAIN: Settings = { seed: "", variations: 1, live: false };
const BEGUN: Work = { fraction: 0, doing: "reading what is chosen", previews: [] };

/** Waits; replaced in tests. */
export type Pause = (ms: number, signal: AbortSignal) => Promise<void>;

export class Panel {
  state: State = {
    connection: { kind: "searching" },
    instruction: "",
    settings: PLAIN,
    work: undefined,
    source: undefined,
    choices: [],
    trouble: undefined,
  };
  private readonly listeners = new Set<() => void>();
  private history: string[] = [];
  private readonly walk = new Walk();
  /** Ends the edit that is under way; owned by it. */
  private editing: AbortController | undefined;
  /** Ends the pairing that is under way. */
  private pairing: AbortController | undefined;
  /** Ends the pause before a live edit. */
  private typing = new AbortController();
  /** Ends the pause before the next look at the daemon. */
  private looking = new AbortController();
  private made = "";

  constructor(
    private readonly host: Host,
    private readonly daemon: Daemon,
    private readonly pause: Pause = pauseFor,
  ) {}

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Recalls what was kept, finds the daemon, and stays with it until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    await this.recall();
    while (!signal.aborted) {
      await this.look();
      this.looking = new AbortController();
      const ms = this.state.connection.kind === "ready" ? LOOK_MS : SEARCH_MS;
      await this.pause(ms, this.looking.signal);
    }
  }

  /** Looks for the daemon at once. */
  retry(): void {
    this.looking.abort();
  }

  /** Asks for a pairing; the connection shows its code. */
  async pair(): Promise<void> {
    const stop = new AbortController();
    this.pairing = stop;
    try {
      await this.daemon.pair(this.host.name, (code) => this.connect({ kind: "pairing", ...code }), stop.signal);
      this.connect({ kind: "searching" });
    } catch (thrown) {
      const why = stop.signal.aborted ? undefined : troubleOf("", thrown).message;
      this.connect({ kind: "unpaired", why });
    } finally {
      this.pairing = undefined;
    }
    this.retry();
  }

  stopPairing(): void {
    this.pairing?.abort();
  }

  /** Gives the token back. */
  async forget(): Promise<void> {
    await this.daemon.forget();
    this.connect({ kind: "unpaired", why: undefined });
    this.retry();
  }

  write(instruction: string): void {
    this.walk.stop();
    this.set({ instruction });
    if (this.state.settings.live) {
      void this.tryLive();
    }
  }

  /** The instruction one further back (-1) or forth (1) in the history. */
  browse(by: -1 | 1): void {
    const instruction = this.walk.step(this.history, by, this.state.instruction);
    if (instruction !== undefined) {
      this.set({ instruction });
    }
  }

  change(settings: Partial<Settings>): void {
    this.set({ settings: { ...this.state.settings, ...settings } });
    void this.host.memory.set(SETTINGS, JSON.stringify(this.state.settings));
    if (settings.live === false) {
      this.typing.abort();
    }
  }

  /** Edits what is chosen in the host. One picture is placed at once, of several the user takes his pick. */
  async edit(): Promise<void> {
    const instruction = this.state.instruction.trim();
    if (instruction === "" || this.state.connection.kind !== "ready") {
      return;
    }
    this.typing.abort();
    this.walk.stop();
    this.history = added(this.history, instruction);
    void this.host.memory.set(INSTRUCTIONS, JSON.stringify(this.history));
    const succeeded = await this.make(instruction, { ...this.state.settings, live: false });
    if (succeeded && this.state.choices.length === 1) {
      await this.place(0);
    }
  }

  cancel(): void {
    this.typing.abort();
    this.editing?.abort();
  }

  /** Puts a picture into the document. */
  async place(at: number): Promise<void> {
    const { source, choices } = this.state;
    const result = choices[at]?.result;
    if (source === undefined || result?.image === undefined) {
      return;
    }
    try {
      const { image, changed } = result;
      const bytes = await this.daemon.bytes(image);
      await this.host.place(source, { bytes, image, changed, instruction: this.made });
      const placed = this.state.choices.map((choice) => (choice.result === result ? { ...choice, placed: true } : choice));
      this.set({ choices: placed, trouble: undefined });
    } catch (thrown) {
      this.fail("The picture could not be placed", thrown);
    }
  }

  dismiss(): void {
    this.set({ trouble: undefined });
  }

  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    this.listeners.forEach((listener) => listener());
  }

  private connect(connection: Connection): void {
    this.set({ connection });
  }

  private async recall(): Promise<void> {
    const { memory } = this.host;
    this.history = parse(await memory.get(INSTRUCTIONS));
    try {
      const kept = JSON.parse((await memory.get(SETTINGS)) ?? "{}") as Partial<Settings>;
      this.set({ settings: { ...PLAIN, ...kept } });
    } catch {
      // What cannot be read is as if it were not there.
    }
  }

  private async look(): Promise<void> {
    const { kind } = this.state.connection;
    // An edit under way takes itself up again; a pairing waits for the user.
    if (kind === "pairing" || this.editing !== undefined || (kind === "ready" && (await this.daemon.answers()))) {
      return;
    }
    const reached = await this.daemon.reach();
    if (this.pairing !== undefined) {
      return;
    }
    const known = this.state.connection;
    // Why a token was refused stays to be read.
    const same = reached.kind === "unpaired" && known.kind === "unpaired" && reached.why === undefined;
    this.connect(same ? known : reached);
  }

  private async tryLive(): Promise<void> {
    this.typing.abort();
    const typing = new AbortController();
    this.typing = typing;
    await this.pause(TYPING_MS, typing.signal);
    const instruction = this.state.instruction.trim();
    if (!typing.signal.aborted && instruction !== "" && this.state.connection.kind === "ready") {
      await this.make(instruction, { ...this.state.settings, variations: 1, live: true });
    }
  }

  /** Makes the pictures; a newer call takes the place of an older one. True when they are there. */
  private async make(instruction: string, settings: Settings): Promise<boolean> {
    this.editing?.abort();
    const stop = new AbortController();
    this.editing = stop;
    // A live edit leaves the picture before it in sight.
    const previews = settings.live ? this.state.choices.flatMap(({ thumbnail }) => thumbnail ?? []) : [];
    this.set({ work: { ...BEGUN, previews }, choices: [], trouble: undefined });
    let succeeded = false;
    try {
      const source = await this.host.read();
      if (!stop.signal.aborted) {
        this.set({ source });
        for await (const event of this.daemon.edit(source, instruction, settings, stop.signal)) {
          if (this.editing !== stop) {
            continue;
          }
          await this.take(event);
          succeeded = isLast(event);
        }
        this.made = this.editing === stop ? instruction : this.made;
      }
    } catch (thrown) {
      if (this.editing === stop) {
        this.fail("The picture could not be made", thrown);
      }
      succeeded = false;
    }
    if (this.editing !== stop) {
      return false;
    }
    this.editing = undefined;
    this.set({ work: undefined });
    return succeeded;
  }

  private async take(event: GenerationEvent): Promise<void> {
    const work = this.state.work ?? BEGUN;
    if (event.kind === "queued") {
      this.set({ work: { ...work, doing: waiting(event.position) } });
    } else if (event.kind === "progress") {
      this.set({ work: { ...work, doing: doing(event.progress), fraction: event.progress.fraction } });
    } else if (event.kind === "preview") {
      const previews = [...work.previews];
      previews[event.preview.imageIndex] = shown(event.preview.image) ?? previews[event.preview.imageIndex] ?? "";
      this.set({ work: { ...work, previews } });
    } else if (isLast(event)) {
      const choices = resultOf(event).images.map((result) => ({ result, thumbnail: this.thumbnail(result), placed: false }));
      this.set({ choices });
    }
  }

  /** The last preview stands for what has come without its bytes, or as pixels. */
  private thumbnail({ image, index }: ResultImage): string | undefined {
    return shown(image) ?? (this.state.work?.previews[index] || undefined);
  }

  private fail(title: string, thrown: unknown): void {
    const error = thrown instanceof EaselError ? thrown : undefined;
    if (error !== undefined && isWanted(error)) {
      return;
    }
    if (error?.code !== undefined && error.isDenied) {
      void this.daemon.forget();
      this.connect({ kind: "unpaired", why: error.message });
      return;
    }
    if (error?.isConnection === true) {
      this.connect({ kind: "searching" });
      this.retry();
    }
    this.set({ trouble: troubleOf(title, thrown) });
  }
}

/** A picture that came along with its message, as far as a page shows it. */
function shown(image: Image | undefined): string | undefined {
  if (image === undefined || image.inline.length === 0 || image.format === ImageFormat.RAW) {
    return undefined;
  }
  return pictureUrl(image.inline, mimeType(image.format));
}

function pauseFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
