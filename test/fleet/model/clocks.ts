/* The clocks of this process, which a replay sets ahead: time that passes for everybody at once. */

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

  /** By the monotonic clock, which leases go by. */
  pass(ms: number): void {
    this.#passed += ms;
  }

  /** By the clock of the authorization server. */
  passAtServer(ms: number): void {
    this.#atServer += BigInt(ms) * 1_000_000n;
  }

  /** By the wall clock, which the age of tokens goes by. */
  passByWall(ms: number): void {
    this.#byWall += ms;
  }

  restore(): void {
    performance.now = this.#performance;
    Date.now = this.#date;
    process.hrtime.bigint = this.#hrtime;
  }
}
