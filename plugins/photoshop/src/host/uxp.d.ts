// What @adobe/cc-ext-uxp-types leaves out of the module "uxp": where secureStorage stands, and that a key may be missing.

declare module "uxp" {
  export const storage: {
    readonly secureStorage: {
      getItem(key: string): Promise<Uint8Array | null>;
      setItem(key: string, value: string): Promise<void>;
      removeItem(key: string): Promise<void>;
    };
  };
}
