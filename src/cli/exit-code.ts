import { HoldfastError, type HoldfastErrorCode } from '../errors.ts';

/** Documented and stable (DESIGN section 8): scripts branch on them. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  loginRequired: 3,
  keyring: 4,
  network: 5,
  store: 6,
  /** 128 + SIGHUP, as a shell reports it. */
  hungUp: 129,
  /** 128 + SIGINT. */
  interrupted: 130,
  /** 128 + SIGTERM. */
  terminated: 143,
} as const;

export const EXIT_OF: Readonly<Record<HoldfastErrorCode, number>> = {
  'invalid-argument': EXIT.usage,
  'login-required': EXIT.loginRequired,
  'insufficient-scope': EXIT.loginRequired,
  'token-renewed': EXIT.failed,
  'login-cancelled': EXIT.interrupted,
  'login-denied': EXIT.loginRequired,
  'login-timeout': EXIT.loginRequired,
  'callback-rejected': EXIT.loginRequired,
  'handover-wrong-key': EXIT.failed,
  'handover-opened': EXIT.failed,
  'handover-expired': EXIT.failed,
  'handover-damaged': EXIT.failed,
  'handover-mismatch': EXIT.failed,
  'handover-newer': EXIT.failed,
  'keyring-absent': EXIT.keyring,
  'keyring-locked': EXIT.keyring,
  'keyring-denied': EXIT.keyring,
  'keyring-broken': EXIT.keyring,
  'key-unavailable': EXIT.keyring,
  network: EXIT.network,
  timeout: EXIT.network,
  'refresh-limited': EXIT.network,
  'unsafe-url': EXIT.network,
  'response-too-large': EXIT.network,
  'invalid-response': EXIT.network,
  'not-an-mcp-server': EXIT.network,
  'issuer-mismatch': EXIT.network,
  'server-unsupported': EXIT.network,
  'oauth-error': EXIT.network,
  'record-damaged': EXIT.store,
  'record-newer': EXIT.store,
  'storage-unsafe': EXIT.store,
  'storage-unreadable': EXIT.store,
  'storage-unwritable': EXIT.store,
  'storage-full': EXIT.store,
  'lock-timeout': EXIT.failed,
  'lock-unsupported': EXIT.store,
  'lease-lost': EXIT.network,
  'store-unreachable': EXIT.network,
  'store-denied': EXIT.store,
  'store-unsuitable': EXIT.store,
  'vault-closed': EXIT.failed,
  aborted: EXIT.interrupted,
};

export function exitCodeOf(error: unknown): number {
  return error instanceof HoldfastError ? EXIT_OF[error.code] : EXIT.failed;
}
