import { HoldfastError, NetworkError } from '../../../src/errors.ts';
import { send } from '../../../src/http/request.ts';

/** Sends one request to a URL, with a timeout in milliseconds, and prints the result as JSON. */
const [url = '', timeoutMs] = process.argv.slice(2);
try {
  const { status, reached } = await send(url, {
    method: 'GET',
    timeoutMs: timeoutMs === undefined ? undefined : Number(timeoutMs),
  });
  process.stdout.write(JSON.stringify({ status, reached }));
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  const { code, message, hint } = error;
  process.stdout.write(
    JSON.stringify({ code, message, hint, unsent: error instanceof NetworkError && error.unsent }),
  );
}
