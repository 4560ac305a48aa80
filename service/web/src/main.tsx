import { render } from "preact";
import { App } from "./App";
import { useTheme, storedTheme } from "./state/theme";
import { openAddress, loadModels } from "./state/opening";
import { followNewestMasks } from "./state/player";
import "./style/base.css";
import "./style/layout.css";
import "./style/controls.css";
import "./style/panels.css";

useTheme(storedTheme());
followNewestMasks();
addEventListener("hashchange", () => void openAddress());
void loadModels();
void openAddress();
const place = document.getElementById("page");
if (place) render(<App />, place);
