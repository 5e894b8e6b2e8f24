import { inspect } from 'node:util';

const REDACTED = '[secret]';

/**
 * A string that must not be seen. Printing, concatenating, inspecting or serialising it yields `[secret]`;
 * `reveal()` is the one way out, so that a search for it finds every place where a secret leaves.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The secret itself. Only for sealing, for an HTTP request, or for a command whose purpose is to print it. */
  reveal(): string {
    return this.#value;
  }

  /** Whether both hold the same string. */
  equals(other: Secret | undefined): boolean {
    return other !== undefined && other.#value === this.#value;
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}
