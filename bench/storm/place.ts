import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A directory of its own, and what has to end with it, whatever happens: the last that was started ends first, then the
 * directory goes.
 */
export class Place {
  readonly path: string;
  readonly #endings: (() => unknown)[] = [];
  #closing: Promise<void> | undefined;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<Place> {
    return new Place(await mkdtemp(join(tmpdir(), 'holdfast-storm-')));
  }

  /** Takes note of how something ends. */
  ends(how: () => unknown): void {
    this.#endings.push(how);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const end of this.#endings.toReversed()) {
      try {
        await end();
      } catch (error) {
        process.stderr.write(`cleaning up: ${String(error)}\n`);
      }
    }
    // At once: whoever is still at work must not put anything there between this and our end.
    rmSync(this.path, { recursive: true, force: true, maxRetries: 5 });
  }
}
