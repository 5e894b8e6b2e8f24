/** A failed Windows call, with the error number from GetLastError (winerror.h). */
export class WindowsError extends Error {
  override readonly name = 'WindowsError';
  readonly call: string;
  readonly number: number;

  constructor(call: string, number: number) {
    super(`${call} failed with Windows error ${number}`);
    this.call = call;
    this.number = number;
  }
}
