import { follow } from "./live.js";

const kinds = document.querySelector("script[data-kinds]").dataset.kinds;
follow(`/events?kinds=${encodeURIComponent(kinds)}`, 400);
