// Pictures of revisions as URLs, each fetched once.

import type { Image } from "@easel/sdk";

/** Most pictures that are held; the one that was asked for longest ago goes first. */
const HELD = 64;

export class Pictures {
  private readonly urls = new Map<string, Promise<string>>();

  constructor(private readonly fetch: (image: Image) => Promise<Blob>) {}

  /** The URL of a picture. */
  url(image: Image): Promise<string> {
    const known = this.urls.get(image.sha256);
    const url = known ?? this.fetch(image).then((blob) => URL.createObjectURL(blob));
    this.urls.delete(image.sha256);
    this.urls.set(image.sha256, url);
    url.catch(() => this.urls.delete(image.sha256));
    const [oldest] = this.urls;
    if (this.urls.size > HELD && oldest !== undefined) {
      this.urls.delete(oldest[0]);
      oldest[1].then((old) => URL.revokeObjectURL(old)).catch(() => undefined);
    }
    return url;
  }
}
