// A part of a run's page that has no more to it than a live head and buttons that copy.

import "./copy.js";
import { followRun } from "./head.js";

followRun();
