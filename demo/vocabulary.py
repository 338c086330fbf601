"""What drawn images show, the hashtags people would give them, and the rule that scores a hashtag for an image."""

import random
from dataclasses import dataclass

# Four Korean hashtags and one English one for each concept.
SCENES = {
    "sea": ("바다", "해변", "바닷가", "파도", "ocean"),
    "mountain": ("산", "등산", "산행", "정상", "mountain"),
    "city": ("도시", "시내", "빌딩", "도심", "city"),
    "forest": ("숲", "숲길", "나무", "산림욕", "forest"),
    "cafe": ("카페", "동네카페", "예쁜카페", "커피숍", "cafe"),
}
SEASONS = {
    "spring": ("봄", "봄날", "벚꽃", "봄나들이", "spring"),
    "summer": ("여름", "한여름", "여름휴가", "무더위", "summer"),
    "autumn": ("가을", "단풍", "가을날", "낙엽", "autumn"),
    "winter": ("겨울", "눈", "첫눈", "한겨울", "winter"),
    "night": ("밤", "야경", "밤하늘", "한밤중", "night"),
    "sunset": ("노을", "일몰", "석양", "해질녘", "sunset"),
}
OBJECTS = {
    "coffee": ("커피", "아메리카노", "라떼", "카페라떼", "coffee"),
    "food": ("맛집", "음식", "점심", "한식", "food"),
    "flower": ("꽃", "꽃다발", "장미", "꽃구경", "flower"),
    "car": ("자동차", "드라이브", "신차", "세차", "car"),
    "phone": ("휴대폰", "스마트폰", "아이폰", "갤럭시폰", "phone"),
    "cat": ("고양이", "냥이", "반려묘", "길고양이", "cat"),
    "cake": ("케이크", "디저트", "생일케이크", "빵", "cake"),
    "book": ("책", "독서", "소설", "북리뷰", "book"),
    "bag": ("가방", "핸드백", "백팩", "명품백", "bag"),
    "film": ("필름", "필름카메라", "카메라", "필름사진", "film"),
    "lipstick": ("립스틱", "화장품", "메이크업", "틴트", "lipstick"),
    "dumbbell": ("헬스", "운동", "덤벨", "오운완", "gym"),
}
CONCEPTS = SCENES | SEASONS | OBJECTS
SUFFIXES = ("여행", "스타그램", "감성", "추천", "일상", "사진", "기록", "데이트", "하루", "그램")
GENERIC = (
    ("일상", "데일리", "소통", "좋아요", "맞팔", "선팔", "인스타그램", "오오티디", "주말", "행복")
    + ("daily", "photo", "instagood", "follow")
)  # fmt: skip
RELATED = (
    ("coffee", "cafe"),
    ("cake", "cafe"),
    ("book", "cafe"),
    ("coffee", "cake"),
    ("food", "cake"),
    ("sea", "summer"),
    ("sea", "sunset"),
    ("mountain", "autumn"),
    ("mountain", "forest"),
    ("flower", "spring"),
    ("city", "night"),
    ("city", "car"),
    ("bag", "lipstick"),
)
WEAKLY_RELATED = (
    ("phone", "film"),
    ("phone", "city"),
    ("cat", "cafe"),
    ("cat", "book"),
    ("flower", "forest"),
    ("forest", "autumn"),
    ("mountain", "winter"),
    ("mountain", "dumbbell"),
    ("night", "sunset"),
    ("city", "food"),
    ("city", "bag"),
    ("sea", "car"),
    ("sea", "film"),
)
LINKS = {frozenset(pair): 3 for pair in RELATED} | {frozenset(pair): 2 for pair in WEAKLY_RELATED}


@dataclass(frozen=True)
class Content:
    """What one image shows.

    Attributes
    ----------
    scene, season : str
        Keys of SCENES and SEASONS.
    objects : tuple of str
        Up to two keys of OBJECTS; the first is the main object.
    """

    scene: str
    season: str
    objects: tuple[str, ...]

    @property
    def concepts(self) -> tuple[str, ...]:
        return (self.scene, self.season, *self.objects)


def sample_content(rng: random.Random) -> Content:
    count = rng.choices((0, 1, 2), weights=(25, 40, 35))[0]
    return Content(rng.choice(list(SCENES)), rng.choice(list(SEASONS)), tuple(rng.sample(list(OBJECTS), count)))


def clean_score(content: Content, concept: str | None) -> int:
    """Score a concept for an image by the rule of the demo, before scores are moved.

    Parameters
    ----------
    content : Content
        What the image shows.
    concept : str or None
        Key of CONCEPTS; None for a generic hashtag.

    Returns
    -------
    int
        1 to 5.
    """
    if concept is None:
        return 2
    if concept in content.objects:
        return 5 if concept == content.objects[0] else 4
    if concept == content.scene:
        return 4 if content.objects else 5
    if concept == content.season:
        return 3 if content.scene == "cafe" else 5
    return max(LINKS.get(frozenset((concept, shown)), 1) for shown in content.concepts)


def sample_hashtag(concept: str | None, rng: random.Random) -> str:
    """A hashtag for `concept` (None: a generic one) as people write it, with or without a suffix and `#`."""
    text = rng.choice(GENERIC if concept is None else CONCEPTS[concept])
    if concept is not None and not text.isascii() and rng.random() < 0.4:
        text += rng.choice(SUFFIXES)
    return f"#{text}" if rng.random() < 0.58 else text
