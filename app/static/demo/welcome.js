/** The page on which one chooses a user. */

import { fillAvatars } from "./person.js";

fillAvatars();
