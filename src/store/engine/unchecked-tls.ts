/**
 * Whether TLS with those options leaves the server's certificate unchecked. `rejectUnauthorized` in the options
 * decides; without it, NODE_TLS_REJECT_UNAUTHORIZED=0 does (`tls.connect` follows both).
 *
 * @param tls options for `tls.connect`; `true` is TLS without options
 */
export function isUncheckedTls(
  tls: unknown,
  variables: Readonly<Record<string, string | undefined>>,
): boolean {
  if (typeof tls === 'object' && tls !== null && 'rejectUnauthorized' in tls) {
    return tls.rejectUnauthorized === false;
  }
  return variables['NODE_TLS_REJECT_UNAUTHORIZED'] === '0';
}
