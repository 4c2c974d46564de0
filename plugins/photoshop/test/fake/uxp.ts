// The module "uxp" as far as the plugin uses it: storage that gives bytes, and `null` for what is not there.

const kept = new Map<string, Uint8Array>();

export const storage = {
  secureStorage: {
    getItem: async (key: string) => kept.get(key) ?? null,
    setItem: async (key: string, value: string) => void kept.set(key, Uint8Array.from(value, (letter) => letter.charCodeAt(0))),
    removeItem: async (key: string) => void kept.delete(key),
  },
};
