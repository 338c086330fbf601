// The texts of the interface, in English and Korean.
const WORDS = {
  en: {
    other: "한국어", skip: "Skip to the content", places: "Pages",
    score: "Score", data: "Data", hashtag: "Hashtag", post: "Post", doubtful: "Doubtful labels", map: "Map", runs: "Runs",
    footer: "Runs on this machine. No image leaves it.",
    system: "Run and system", noSystem: "none", noRun: "There is no run to score with yet. Train one:", noTable: "There is no table to look at. Start the app with one:",
    loading: "Loading ...", working: "Working ...", failed: "The server does not answer: is it still running?",
    drop: "Drop, paste or choose an image", image: "Image", hashtags: "Hashtags", separate: "Separate them with spaces, commas or #", ask: "Score", example: "Use an example image",
    noImage: "Choose an image first.", noHashtags: "Write at least one hashtag.", tooLarge: "The image is over 20 MB: choose a smaller one.",
    expected: "expected {x}", chanceOf: "probability of score {n}", confidence: "Confidence {x}", thresholds: "Confidence: none, thresholds only", unfamiliar: "unfamiliar", unfamiliarWhy: "Unlike every training hashtag: the score is a guess.",
    why: "Why?", scored: "{n} hashtags scored with {system}", similarity: "Cosine {x}", cosineRank: "Cosine", cosineText: "{x}, place {rank} among the {n} images of the cache", drawMap: "Show which parts of the image matter", drawingMap: "Covering one part of the image after another ...", mapOf: "Parts of the image that the answer for {hashtag} depends on", evidence: "Evidence, not proof: compare the deletion gap with that of the fixed place, which sees neither image nor hashtag.",
    hashtagLabel: "Mean training label of the hashtag", imageLabel: "Mean training label of the image", mean: "{x} (n = {n})", none: "none", textOnly: "A control that sees no image answers", textOnlyText: "{score} (expected {x})",
    nearest: "Most similar labelled images with this hashtag", preferred: "Hashtags the system prefers for this image", label: "label {x}",
    search: "Search", searchHint: "hashtag or file name", labelFilter: "Label", predictedFilter: "Predicted", any: "any", splitFilter: "Split", error: "Error", atLeast: "at least {n}", doubt: "Doubt", doubted: "doubted labels", repeats: "Repeats", repeated: "repeated pairs", conflicts: "conflicting labels", order: "Sort by", byTable: "table order", byError: "largest error", byDoubt: "largest doubt",
    reset: "Reset filters", counted: "{rows} rows on {images} images", page: "Page {page} of {pages}", before: "Previous", after: "Next", noHits: "No row passes the filters.",
    labelScore: "label {label} · score {score}", unlabelled: "no label", noImageFile: "image not found", check: "Check the data set", checking: "Checking every image ...", leakage: "Test rows shared with train", leak: "{protocol}: image {image}, pair {pair}, hashtag {hashtag} of {n}", duplicates: "Same image under several names", near: "Near-duplicate images", files: "Image files", fileCounts: "{missing} missing, {broken} broken", pairs: "Repeats and conflicts", pairCounts: "{repeats} repeated rows, {conflicts} pairs with different labels",
    hashtagName: "Hashtag", show: "Show", rowsOf: "{n} rows, mean label {label}", meanError: "Mean error (prediction minus label) {x}, 95 % interval {low} to {high}, n = {n}", fewErrors: "{n} rows with a prediction: too few for an interval.", noErrors: "No row has a prediction of this system.", dots: "Label (across) and prediction (up) of each row", row: "Row", predicted: "Predicted", split: "Split", noSuchHashtag: "No row has this hashtag.",
    choosePost: "Choose an image on the page Data.", rowsOfImage: "Hashtags of this image", doubtfulAbout: "Labels that an audit doubts, the most doubtful first. The audit can be wrong too: look at the image.", noAudit: "There is no audit yet. Make one:", suggested: "label {label} → suggested {suggested} · doubt {doubt}",
    mapAbout: "Images and hashtags of the table that are in the embedding cache, each kind centred on its own mean. Near points suggest similarity; distances are not calibrated.", method: "Method", images: "Images", mapLabel: "Map of images and hashtags; the list beside it has the same content", lasso: "Draw around points to list them alone.", all: "List all", listed: "{n} points", leftOut: "{n} are not in the cache or not drawn.",
    runsAbout: "Results on test rows with 95 % intervals.", run: "Run", systemName: "System", rows: "Rows", noRuns: "There are no finished runs in {folder}.", problem: "cannot be read", several: "Compare, report", severalAbout: "Choose runs: they are compared with the one that is chosen first.", compare: "Compare", report: "Write a report", reported: "The report is in report.html, among the downloads.", chooseRuns: "Choose at least {n} first.", compared: "Differences to {reference} on {n} rows", metric: "Metric", value: "Value", difference: "Difference", splits: { test: "test", train: "train", val: "validation", cv: "cross-validation" },
  },
  ko: {
    other: "English", skip: "본문으로 건너뛰기", places: "페이지",
    score: "채점", data: "데이터", hashtag: "해시태그", post: "게시물", doubtful: "의심스러운 라벨", map: "지도", runs: "실행 결과",
    footer: "이 컴퓨터에서만 실행되며, 이미지는 밖으로 나가지 않습니다.",
    system: "실행과 시스템", noSystem: "없음", noRun: "아직 채점할 수 있는 실행 결과가 없습니다. 먼저 학습하세요:", noTable: "볼 수 있는 표가 없습니다. 표를 지정해 앱을 시작하세요:",
    loading: "불러오는 중 ...", working: "계산 중 ...", failed: "서버가 응답하지 않습니다. 아직 실행 중인가요?",
    drop: "이미지를 끌어다 놓거나, 붙여 넣거나, 선택하세요", image: "이미지", hashtags: "해시태그", separate: "공백, 쉼표 또는 #로 구분하세요", ask: "채점하기", example: "예시 이미지 사용",
    noImage: "먼저 이미지를 선택하세요.", noHashtags: "해시태그를 하나 이상 입력하세요.", tooLarge: "이미지가 20 MB를 넘습니다. 더 작은 이미지를 선택하세요.",
    expected: "기대 점수 {x}", chanceOf: "점수 {n}의 확률", confidence: "확신도 {x}", thresholds: "확신도: 없음(임계값만 사용)", unfamiliar: "낯선 해시태그", unfamiliarWhy: "학습한 해시태그와 닮지 않아 점수는 추측입니다.",
    why: "이유", scored: "{system}로 해시태그 {n}개를 채점했습니다", similarity: "코사인 {x}", cosineRank: "코사인", cosineText: "{x}, 캐시의 이미지 {n}개 중 {rank}위", drawMap: "이미지의 어느 부분이 중요한지 보기", drawingMap: "이미지를 한 부분씩 가려 보는 중 ...", mapOf: "{hashtag}에 대한 답이 달라지는 이미지 부분", evidence: "증거일 뿐 증명이 아닙니다. 이미지도 해시태그도 보지 않는 고정 위치의 삭제 격차와 비교하세요.",
    hashtagLabel: "이 해시태그의 학습 라벨 평균", imageLabel: "이 이미지의 학습 라벨 평균", mean: "{x} (n = {n})", none: "없음", textOnly: "이미지를 보지 않는 대조 시스템의 답", textOnlyText: "{score} (기대 점수 {x})",
    nearest: "이 해시태그가 붙은 가장 비슷한 이미지", preferred: "시스템이 이 이미지에 더 어울린다고 보는 해시태그", label: "라벨 {x}",
    search: "검색", searchHint: "해시태그 또는 파일 이름", labelFilter: "라벨", predictedFilter: "예측", any: "전체", splitFilter: "분할", error: "오차", atLeast: "{n} 이상", doubt: "의심", doubted: "의심스러운 라벨", repeats: "반복", repeated: "반복된 쌍", conflicts: "라벨이 다른 쌍", order: "정렬", byTable: "표 순서", byError: "오차가 큰 순서", byDoubt: "의심이 큰 순서",
    reset: "필터 초기화", counted: "이미지 {images}개, 행 {rows}개", page: "{pages}쪽 중 {page}쪽", before: "이전", after: "다음", noHits: "조건에 맞는 행이 없습니다.",
    labelScore: "라벨 {label} · 점수 {score}", unlabelled: "라벨 없음", noImageFile: "이미지를 찾을 수 없음", check: "데이터 점검", checking: "모든 이미지를 확인하는 중 ...", leakage: "학습 데이터와 겹치는 시험 행", leak: "{protocol}: {n}개 중 이미지 {image}, 쌍 {pair}, 해시태그 {hashtag}", duplicates: "이름만 다른 같은 이미지", near: "거의 같은 이미지", files: "이미지 파일", fileCounts: "없음 {missing}개, 손상 {broken}개", pairs: "반복과 충돌", pairCounts: "반복된 행 {repeats}개, 라벨이 다른 쌍 {conflicts}개",
    hashtagName: "해시태그", show: "보기", rowsOf: "{n}개 행, 라벨 평균 {label}", meanError: "평균 오차(예측 − 라벨) {x}, 95 % 구간 {low}~{high}, n = {n}", fewErrors: "예측이 있는 행이 {n}개뿐이라 구간을 낼 수 없습니다.", noErrors: "이 시스템의 예측이 있는 행이 없습니다.", dots: "행마다 라벨(가로)과 예측(세로)", row: "행", predicted: "예측", split: "분할", noSuchHashtag: "이 해시태그가 있는 행이 없습니다.",
    choosePost: "데이터 페이지에서 이미지를 선택하세요.", rowsOfImage: "이 이미지의 해시태그", doubtfulAbout: "감사에서 의심한 라벨을 의심이 큰 순서로 보여 줍니다. 감사도 틀릴 수 있으니 이미지를 확인하세요.", noAudit: "아직 감사 결과가 없습니다. 먼저 실행하세요:", suggested: "라벨 {label} → 제안 {suggested} · 의심 {doubt}",
    mapAbout: "표의 이미지와 해시태그 중 임베딩 캐시에 있는 것을 종류별 평균을 중심으로 그렸습니다. 가까운 점은 비슷할 수 있지만, 거리는 보정되지 않았습니다.", method: "방법", images: "이미지", mapLabel: "이미지와 해시태그의 지도. 옆의 목록에 같은 내용이 있습니다", lasso: "점을 둘러 그리면 그 점만 목록에 나옵니다.", all: "모두 보기", listed: "점 {n}개", leftOut: "{n}개는 캐시에 없거나 그리지 않았습니다.",
    runsAbout: "시험 행의 결과와 95 % 구간입니다.", run: "실행", systemName: "시스템", rows: "행", noRuns: "{folder}에 끝난 실행 결과가 없습니다.", problem: "읽을 수 없음", several: "비교와 보고서", severalAbout: "실행을 선택하세요. 처음 선택한 것이 비교의 기준입니다.", compare: "비교하기", report: "보고서 만들기", reported: "보고서는 다운로드 폴더의 report.html에 있습니다.", chooseRuns: "먼저 {n}개 이상 선택하세요.", compared: "{n}개 행에서 {reference}와의 차이", metric: "지표", value: "값", difference: "차이", splits: { test: "시험", train: "학습", val: "검증", cv: "교차 검증" },
  },
};
const KEPT = "koclip-language";

function chosen() {
  const kept = localStorage.getItem(KEPT);
  return kept in WORDS ? kept : navigator.language.startsWith("ko") ? "ko" : "en";
}

export const language = chosen();

export function otherLanguage() {
  localStorage.setItem(KEPT, language === "en" ? "ko" : "en");
  location.reload();
}

export function t(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const splitName = (side) => WORDS[language].splits[side] ?? side;
export const figure = (x, digits = 2) => (x === null || x === undefined ? "–" : x.toFixed(digits));
