declare module 'proxy-from-env' {
  /** Returns the proxy that the environment names for the URL, or an empty string. */
  export function getProxyForUrl(url: string): string;
}
