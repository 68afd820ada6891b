/** The page on which a visitor chooses a user. */

import { fillAvatars } from "./elements.js";

fillAvatars();
