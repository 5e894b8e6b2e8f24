import { inspect } from 'node:util';

const REDACTED = '[secret]';

/**
 * A string that must not be shown. Printing, concatenating, inspecting or serialising it yields `[secret]`. Only
 * `reveal()` returns the value, so a search for it finds every use of a secret.
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

  /** Whether both contain the same string. */
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
