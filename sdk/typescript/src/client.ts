// The client: one connection to one daemon, with a method for each thing that can be asked for.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";

import { Access } from "./access.js";
import { ask } from "./call.js";
import { required } from "./event.js";
import {
  type CancelGenerationResponse,
  type Generation,
  GenerationService,
  type GenerationSpecSchema,
  type ListGenerationsRequestSchema,
  type ListGenerationsResponse,
  Mode,
} from "./gen/easel/v1/generation_pb.js";
import type { Image, ImageSourceSchema } from "./gen/easel/v1/image_pb.js";
import {
  type GetCapabilitiesResponse,
  type GetStatusResponse,
  type GetVersionResponse,
  type KeptCache,
  type PrepareConditioningResponse,
  SystemService,
} from "./gen/easel/v1/system_pb.js";
import type { Delivery, Link } from "./link.js";
import { Models } from "./models.js";
import { blobOf } from "./picture.js";
import { type GenerateOptions, messagesOf, sourceOf } from "./request.js";
import { type Request, Run } from "./run.js";
import { Sessions } from "./sessions.js";
import { bytesOf, download, persist, type Picture, type TransferOptions, upload } from "./transfer.js";

/** What {@link Easel.create} made. */
export interface Created {
  readonly generation: Generation;
  /** True when the request id was known with the same content: this is the first generation. */
  readonly existed: boolean;
}

/** A call that can be given up. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A connection to a daemon; made by `connect`. A lost connection is made again by the next call. */
export class Easel {
  /** Edit sessions: a picture with the tree of its revisions. */
  readonly sessions: Sessions;
  /** The models and their memory. */
  readonly models: Models;
  /** Pairing, and the tokens that were given. */
  readonly access: Access;
  private readonly generations;
  private readonly system;

  /** Made by `connect`. */
  constructor(private readonly link: Link) {
    this.sessions = new Sessions(link);
    this.models = new Models(link);
    this.access = new Access(link);
    this.generations = createClient(GenerationService, link.transport);
    this.system = createClient(SystemService, link.transport);
  }

  /** Where this client is connected to. */
  get place(): string {
    return this.link.place;
  }

  /** How events come: as a stream, or by long poll where something on the way holds streams back. Measured once. */
  delivery(): Promise<Delivery> {
    return ask(() => this.link.delivery());
  }

  /** A picture from a text. The request goes out when the run is first read. */
  generate(prompt: string, options: GenerateOptions = {}): Run {
    return this.run(Mode.GENERATE, prompt, undefined, options);
  }

  /** An edit of a picture by an instruction. A large picture is uploaded first, unless the daemon has it. */
  edit(picture: Picture, instruction: string, options: GenerateOptions = {}): Run {
    return this.run(Mode.EDIT, instruction, picture, options);
  }

  /**
   * Creates the generation without watching it; it goes on when this client goes away. Its id serves {@link watch},
   * {@link cancel} and {@link generation}.
   */
  async create(prompt: string, options: GenerateOptions & { picture?: Picture } = {}): Promise<Created> {
    const { picture, ...rest } = options;
    const request = await this.request(picture === undefined ? Mode.GENERATE : Mode.EDIT, prompt, picture, rest);
    const call = rest.signal === undefined ? {} : { signal: rest.signal };
    const answer = await persist(rest.signal, () => this.generations.createGeneration(request, call));
    return { generation: required(answer.generation, "generation"), existed: answer.existed };
  }

  /** The events of a generation after a sequence number, 0 for all. Aborting the signal cancels it. */
  watch(id: string, options: CallOptions & { afterSequence?: number } = {}): Run {
    return new Run(this.link, { id, afterSequence: options.afterSequence ?? 0 }, options.signal);
  }

  /** A generation as it stands. */
  async generation(id: string, options: CallOptions = {}): Promise<Generation> {
    const answer = await ask((call) => this.generations.getGeneration({ id }, call), options.signal);
    return required(answer.generation, "generation");
  }

  /** Generations, newest first, a page at a time; the page's token is empty at the end. */
  list(
    request: MessageInitShape<typeof ListGenerationsRequestSchema> = {},
    options: CallOptions = {},
  ): Promise<ListGenerationsResponse> {
    return ask((call) => this.generations.listGenerations(request, call), options.signal);
  }

  /** Cancels a generation and says what that hit. */
  cancel(id: string, options: CallOptions = {}): Promise<CancelGenerationResponse> {
    return ask((call) => this.generations.cancelGeneration({ id }, call), options.signal);
  }

  /** Uploads a file and gives its SHA-256, by which requests name it. Sends nothing when the daemon has it already. */
  async upload(file: Uint8Array | ArrayBuffer | Blob, options: TransferOptions = {}): Promise<string> {
    return upload(this.link, await bytesOf(file), options);
  }

  /** A picture as requests name it, uploaded when it is large: for a mask (`selection.mask.image`), or one that is used often. */
  source(picture: Picture, options: CallOptions = {}): Promise<MessageInitShape<typeof ImageSourceSchema>> {
    return sourceOf(this.link, picture, options.signal);
  }

  /** Downloads a blob by its hash and checks it. */
  download(sha256: string, options: TransferOptions = {}): Promise<Uint8Array> {
    return download(this.link, sha256, options);
  }

  /** The file of a picture that the daemon made: as it came with the message, or fetched by its hash. */
  async picture(image: Image, options: TransferOptions = {}): Promise<Uint8Array> {
    return image.inline.length > 0 ? image.inline : this.download(image.sha256, options);
  }

  /** As {@link picture}, as a Blob with its type. */
  async pictureBlob(image: Image, options: TransferOptions = {}): Promise<Blob> {
    return blobOf(await this.picture(image, options), image.format);
  }

  /** Queue, stages and memory of the daemon. */
  status(options: CallOptions = {}): Promise<GetStatusResponse> {
    return ask((call) => this.system.getStatus({}, call), options.signal);
  }

  /** Limits, defaults and models. */
  capabilities(options: CallOptions = {}): Promise<GetCapabilitiesResponse> {
    return ask((call) => this.system.getCapabilities({}, call), options.signal);
  }

  /** Version of the daemon and of its protocol; needs no token. */
  version(options: CallOptions = {}): Promise<GetVersionResponse> {
    return ask((call) => this.system.getVersion({}, call), options.signal);
  }

  /**
   * Reads prompt and picture of a request for later, so that its generation finds them: to be called while a user still types.
   * The prompt may be empty. Aborting the signal stops the reading.
   */
  prepare(
    spec: MessageInitShape<typeof GenerationSpecSchema>,
    options: CallOptions = {},
  ): Promise<PrepareConditioningResponse> {
    return ask((call) => this.system.prepareConditioning({ spec }, call), options.signal);
  }

  /** What the loaded models keep between generations. */
  async kept(options: CallOptions = {}): Promise<KeptCache[]> {
    return (await ask((call) => this.system.listConditioning({}, call), options.signal)).caches;
  }

  /** Drops what a model (default: all) keeps between generations; bytes that this frees. */
  async clearKept(model = "", options: CallOptions = {}): Promise<bigint> {
    return (await ask((call) => this.system.clearConditioning({ model }, call), options.signal)).freedBytes;
  }

  private run(mode: Mode, prompt: string, picture: Picture | undefined, options: GenerateOptions): Run {
    return new Run(this.link, { start: () => this.request(mode, prompt, picture, options) }, options.signal);
  }

  private async request(
    mode: Mode,
    prompt: string,
    picture: Picture | undefined,
    options: GenerateOptions,
  ): Promise<Request> {
    const { spec, policy } = messagesOf(options);
    const image = picture === undefined ? {} : { image: await sourceOf(this.link, picture, options.signal) };
    return { spec: { ...spec, mode, prompt, ...image } as Request["spec"], policy };
  }
}
