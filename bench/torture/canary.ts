import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Larger files than these are no logs, and no records. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Looks for tokens where none may be. */
export class CanaryScan {
  readonly leaks = new Set<string>();
  scanned = 0;
  readonly #canary: Buffer;

  constructor(canary: string) {
    this.#canary = Buffer.from(canary, 'latin1');
  }

  /** Command line and environment of a process, its title included. */
  processes(pids: readonly number[]): void {
    for (const pid of pids) {
      for (const file of ['cmdline', 'environ', 'comm']) this.#file(`/proc/${pid}/${file}`, false);
    }
  }

  /** Every file below. */
  below(place: string): void {
    if (!existsSync(place)) return;
    if (!statSync(place).isDirectory()) return this.#file(place, true);
    for (const entry of readdirSync(place, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) this.#file(join(entry.parentPath, entry.name), true);
    }
  }

  #file(path: string, bounded: boolean): void {
    try {
      if (bounded && statSync(path).size > MOST_BYTES) return;
      this.scanned += 1;
      if (readFileSync(path).includes(this.#canary)) this.leaks.add(path);
    } catch {
      // The process has ended, or the file is gone.
    }
  }
}
