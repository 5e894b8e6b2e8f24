export function measure() {
  const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) =>
      value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const paperOf = (element) => {
    if (element === null) return 'rgb(255, 255, 255)';
    const { backgroundColor } = getComputedStyle(element);
    return channels(backgroundColor)[3] === 0 ? paperOf(element.parentElement) : backgroundColor;
  };
  const { maxWidth, borderTopLeftRadius } = getComputedStyle(document.querySelector('main'));
  const { display, marginTop, backgroundColor } = getComputedStyle(document.body);
  const texts = [...document.querySelectorAll('svg, h1, p, dt, dd, footer')].map((element) => {
    const { color, fontSize } = getComputedStyle(element);
    const [ink, paper] = [luminance(color), luminance(paperOf(element))];
    const { left, right } = element.getBoundingClientRect();
    return {
      name: element.tagName.toLowerCase(),
      contrast: (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05),
      onDark: paper < 0.5,
      fontSize: Number.parseFloat(fontSize),
      fits: left >= 0 && right <= innerWidth && element.scrollWidth <= Math.ceil(right - left),
    };
  });
  return {
    main: { maxWidth, borderTopLeftRadius },
    body: { display, marginTop, backgroundColor },
    texts,
    scrollWidth: document.documentElement.scrollWidth,
  };
}
