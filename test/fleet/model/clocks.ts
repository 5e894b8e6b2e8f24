/* The clocks of this process. A replay sets them ahead, so that time passes for all at once. */

export class Clocks {
  readonly #performance = performance.now.bind(performance);
  readonly #date = Date.now;
  readonly #hrtime = process.hrtime.bigint.bind(process.hrtime);
  #passed = 0;
  #atServer = 0n;
  #byWall = 0;

  constructor() {
    performance.now = () => this.#performance() + this.#passed;
    Date.now = () => this.#date() + this.#byWall;
    process.hrtime.bigint = () => this.#hrtime() + this.#atServer;
  }

  /** Moves the monotonic clock, which times leases. */
  pass(ms: number): void {
    this.#passed += ms;
  }

  /** Moves the clock of the authorization server. */
  passAtServer(ms: number): void {
    this.#atServer += BigInt(ms) * 1_000_000n;
  }

  /** Moves the wall clock, which dates tokens. */
  passByWall(ms: number): void {
    this.#byWall += ms;
  }

  restore(): void {
    performance.now = this.#performance;
    Date.now = this.#date;
    process.hrtime.bigint = this.#hrtime;
  }
}
