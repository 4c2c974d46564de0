// The picture of a revision, fetched when it is shown.

import type { Image } from "@easel/sdk";
import { useEffect, useState } from "preact/hooks";

import type { Studio } from "../model.js";

export function useUrl(studio: Studio, image: Image | undefined): string | undefined {
  const [shown, show] = useState<{ sha256: string; url: string }>();
  useEffect(() => {
    let current = true;
    if (image !== undefined) {
      studio.pictures
        .url(image)
        .then((url) => current && show({ sha256: image.sha256, url }))
        .catch(() => undefined);
    }
    return () => {
      current = false;
    };
  }, [studio, image?.sha256]);
  return shown !== undefined && shown.sha256 === image?.sha256 ? shown.url : undefined;
}

export function Picture({ studio, image, alt }: { studio: Studio; image: Image | undefined; alt: string }) {
  const url = useUrl(studio, image);
  return url === undefined ? <span class="blank" /> : <img src={url} alt={alt} draggable={false} />;
}
