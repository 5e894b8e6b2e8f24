import * as v from 'valibot';
import type { ClientRegistration, Reach } from '../../credential.ts';
import {
  AbortedError,
  InvalidResponseError,
  LoginCancelledError,
  LoginDeniedError,
  LoginTimeoutError,
  NetworkError,
  OAuthError,
  TimeoutError,
  UnsafeUrlError,
} from '../../errors.ts';
import { isSuccess, type RequestOptions } from '../../http/request.ts';
import { checkPublishedUrl } from '../../http/safe-url.ts';
import { quote } from '../../quote.ts';
import { Secret } from '../../secret.ts';
import { sleep } from '../../system/locks/keyed-mutex.ts';
import { FOR_A_SHELL } from '../discovery/server-metadata.ts';
import { errorResponse } from '../error-response.ts';
import { DEVICE_GRANT } from '../registration/client-metadata.ts';
import { AuthenticatedClient } from '../tokens/client-authentication.ts';
import {
  type TokenRequestOptions,
  type TokenResponse,
  type TokenServer,
  tokenRequest,
} from '../tokens/token.ts';

/*
 * The device authorization grant (RFC 8628): the user logs in with a browser on any machine and types a short code
 * there. This machine needs no browser, and the server needs no way to reach it.
 */

/** The code and pages to show to the user (RFC 8628 section 3.3), and the device code to poll the server with. */
export interface DeviceAuthorization {
  readonly userCode: string;
  readonly verificationUri: string;
  /**
   * The same page with the code in its URL, for a QR code. Absent if its origin differs or its characters are unsafe in
   * a shell.
   */
  readonly verificationUriComplete: string | undefined;
  readonly deviceCode: Secret;
  /** Lifetime of the code, in milliseconds. */
  readonly lifeMs: number;
  /** Pause between two polls, in milliseconds. */
  readonly intervalMs: number;
}

/**
 * RFC 8628 section 3.2. People read and type the user code (section 6.1): ASCII letters and digits in at most two
 * groups. A longer one would let the server print a sentence on the user's terminal.
 */
const Answer = v.object({
  device_code: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,4096}$/)),
  user_code: v.pipe(v.string(), v.regex(/^(?=.{1,20}$)[\w.-]+( [\w.-]+)?$/)),
  verification_uri: v.pipe(v.string(), v.maxLength(2048)),
  verification_uri_complete: v.optional(v.pipe(v.string(), v.maxLength(2048))),
  expires_in: v.pipe(v.number(), v.minValue(1)),
  interval: v.optional(v.pipe(v.number(), v.minValue(0))),
});

const DEFAULT_INTERVAL_S = 5;
const LONGEST_INTERVAL_S = 60;
const LONGEST_DEVICE_CODE_LIFE_S = 86_400;
/** RFC 8628 section 3.5: `slow_down` adds this to the interval of all later polls. */
const SLOWER_MS = 5_000;

/**
 * Requests a device code and a user code.
 *
 * @param server with the device authorization endpoint of its metadata
 * @throws OAuthError, NetworkError, TimeoutError, InvalidResponseError, UnsafeUrlError for the server's response
 */
export async function requestDeviceCode(
  server: TokenServer & { readonly deviceAuthorizationEndpoint: string; readonly reach?: Reach | undefined },
  registration: ClientRegistration,
  grant: { scope: string | undefined; resourceParameter: string | undefined },
  options: RequestOptions = {},
): Promise<DeviceAuthorization> {
  const what = `The device authorization endpoint of ${quote(server.issuer)}`;
  const client = new AuthenticatedClient(registration, server);
  const parameters = new URLSearchParams();
  if (grant.scope !== undefined) parameters.set('scope', grant.scope);
  if (grant.resourceParameter !== undefined) parameters.set('resource', grant.resourceParameter);
  const { response, answer } = await client.post(server.deviceAuthorizationEndpoint, parameters, {
    ...options,
    reach: server.reach ?? options.reach,
    what,
  });
  if (!isSuccess(response) || typeof answer?.['error'] === 'string') {
    throw errorResponse(what, response, answer, client.proofs);
  }
  const parsed = v.safeParse(Answer, answer);
  if (!parsed.success) {
    const members = parsed.issues.map((issue) => v.getDotPath(issue) ?? 'the whole').slice(0, 3);
    throw new InvalidResponseError(`${what} answered no device code (wrong: ${members.join(', ')}).`, {
      hint: 'Tell who runs the server.',
    });
  }
  const { device_code, user_code, verification_uri, verification_uri_complete, expires_in, interval } =
    parsed.output;
  const verificationUri = checkShown(verification_uri, server.issuer);
  return {
    userCode: user_code,
    verificationUri,
    verificationUriComplete: completeOf(verification_uri_complete, verificationUri, server.issuer),
    deviceCode: new Secret(device_code),
    lifeMs: Math.min(expires_in, LONGEST_DEVICE_CODE_LIFE_S) * 1000,
    intervalMs: Math.min(Math.max(interval ?? DEFAULT_INTERVAL_S, 1), LONGEST_INTERVAL_S) * 1000,
  };
}

/**
 * Polls until the user logs in or refuses, or until the code expires (RFC 8628 sections 3.4 and 3.5).
 *
 * @param options.timeoutMs time limit for the user, in milliseconds, if it is shorter than the code's lifetime
 * @throws LoginDeniedError, LoginTimeoutError; LoginCancelledError when the caller's signal aborts; OAuthError,
 *   InvalidResponseError for the server's response
 */
export async function awaitDeviceTokens(
  server: TokenServer,
  registration: ClientRegistration,
  device: DeviceAuthorization,
  grant: { resourceParameter: string | undefined },
  options: Pick<TokenRequestOptions, 'dpopKey' | 'signal' | 'environment'> & { readonly timeoutMs: number },
): Promise<TokenResponse> {
  const { dpopKey, signal, environment } = options;
  const end = performance.now() + Math.min(options.timeoutMs, device.lifeMs);
  let { intervalMs } = device;
  for (;;) {
    if (performance.now() + intervalMs > end) throw lapsed(options.timeoutMs < device.lifeMs);
    await wait(intervalMs, signal);
    try {
      // The caller's signal does not abort this request: a response with tokens must not be dropped.
      return await tokenRequest(
        server,
        registration,
        DEVICE_GRANT,
        { device_code: device.deviceCode, resource: grant.resourceParameter },
        { dpopKey, environment },
      );
    } catch (error) {
      if (error instanceof NetworkError || error instanceof TimeoutError) {
        // RFC 8628 section 3.5 asks for growing pauses while the server cannot be reached.
        intervalMs = Math.min(intervalMs * 2, LONGEST_INTERVAL_S * 1000);
        continue;
      }
      if (!(error instanceof OAuthError)) throw error;
      if (error.error === 'slow_down') intervalMs += SLOWER_MS;
      else if (error.error === 'expired_token') throw lapsed(false);
      else if (error.error === 'access_denied') {
        throw new LoginDeniedError(`${quote(server.issuer)} says that access was denied.`, {
          hint: 'If that was not meant, log in again and allow it.',
        });
      } else if (error.error !== 'authorization_pending') throw error;
    }
  }
}

async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, signal);
  } catch (error) {
    if (error instanceof AbortedError) {
      throw new LoginCancelledError('The login was cancelled. Nothing was stored.', { cause: error });
    }
    throw error;
  }
}

/** Checks a URL that the user opens in any browser or pastes into a terminal. */
function checkShown(text: string, issuer: string): string {
  const { href } = checkPublishedUrl(text, 'verification page', new URL(issuer));
  if (!FOR_A_SHELL.test(href)) return href;
  throw new UnsafeUrlError(
    `The verification page of ${quote(issuer)} holds characters that a shell would act on: ${quote(href)}.`,
    { hint: 'It was not shown. Tell who runs the server.' },
  );
}

/**
 * Returns the link for a QR code, which nobody reads before a phone opens it. The link is optional (RFC 8628 section
 * 3.2), so it is left out if its origin differs from the verification page's, or if a shell would act on its
 * characters.
 *
 * @throws UnsafeUrlError when it is not the URL of a web page
 */
function completeOf(text: string | undefined, verificationUri: string, issuer: string): string | undefined {
  if (text === undefined) return undefined;
  const { origin, href } = checkPublishedUrl(text, 'verification page', new URL(issuer));
  return origin === new URL(verificationUri).origin && !FOR_A_SHELL.test(href) ? href : undefined;
}

function lapsed(isTimeOurs: boolean): LoginTimeoutError {
  return new LoginTimeoutError('Nobody entered the code in time. Nothing was stored.', {
    hint: isTimeOurs
      ? 'Log in again for a new code; --timeout SECONDS gives more time.'
      : 'Log in again for a new code.',
  });
}
